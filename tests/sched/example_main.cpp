// Drives the example system of `mensa rtl` as network.h of `mensa compile` says, in the place of the
// processor that a system has. Prints nothing and returns 0 if every program ended well.
#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "network.h"

namespace {

Vtop top;

void fail(const char* what, unsigned value) {
    std::fprintf(stderr, "%s: %x\n", what, value);
    std::exit(1);
}

/// One cycle. The caller has set the inputs; returns after the edge.
void tick() {
    top.clk = 1;
    top.eval();
    top.clk = 0;
    top.eval();
}

void write(unsigned address, unsigned value) {
    top.s_axi_control_awaddr = address;
    top.s_axi_control_wdata = value;
    top.s_axi_control_wstrb = 15;
    top.s_axi_control_awvalid = top.s_axi_control_wvalid = top.s_axi_control_bready = 1;
    for (int cycle = 0; cycle < 100; cycle++) {
        top.eval();
        bool address_taken = top.s_axi_control_awready, data_taken = top.s_axi_control_wready;
        bool answered = top.s_axi_control_bvalid;
        tick();
        if (address_taken) top.s_axi_control_awvalid = 0;
        if (data_taken) top.s_axi_control_wvalid = 0;
        if (answered) return;
    }
    fail("no answer to a write of", address);
}

unsigned read(unsigned address) {
    top.s_axi_control_araddr = address;
    top.s_axi_control_arvalid = top.s_axi_control_rready = 1;
    for (int cycle = 0; cycle < 100; cycle++) {
        top.eval();
        bool taken = top.s_axi_control_arready, answered = top.s_axi_control_rvalid;
        unsigned value = top.s_axi_control_rdata;
        tick();
        if (taken) top.s_axi_control_arvalid = 0;
        if (answered) return value;
    }
    fail("no answer to a read of", address);
    return 0;
}

void run(unsigned program) {
    write(MENSA_REG_PROGRAM_ADDRESS, program);
    write(MENSA_REG_CONTROL, MENSA_CONTROL_START | MENSA_CONTROL_INTERRUPT_ENABLE);
    for (int cycle = 0; !top.irq; cycle++) {
        if (cycle == 1000000) fail("no interrupt of program", program);
        tick();
    }
    unsigned status = read(MENSA_REG_STATUS);
    if (!(status & MENSA_STATUS_DONE) || (status & MENSA_STATUS_ERROR)) fail("status", status);
    write(MENSA_REG_STATUS, MENSA_STATUS_DONE);
    if (top.irq) fail("the interrupt stays after program", program);
}

}  // namespace

int main() {
    top.rst = 1;
    tick();
    top.rst = 0;
    tick();
    if (read(MENSA_REG_ID) != MENSA_MAGIC) fail("not the core, but", read(MENSA_REG_ID));
    if (read(MENSA_REG_CONFIG_HASH) != MENSA_CONFIGURATION) fail("configuration", 0);
    for (unsigned i = 0; i < MENSA_SETUP_COUNT; i++) run(mensa_setup[i].value);
    for (unsigned i = 0; i < MENSA_STEPS_COUNT && mensa_steps[i].kind == MENSA_STEP_PROGRAM; i++)
        run(mensa_steps[i].value);
    top.final();
}
