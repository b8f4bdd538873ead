// Runs commands on a Verilated load or store unit (STORE is defined) over sim/engines/harness/memory.hpp, and tells
// in which cycles they start and end. Used by test_dma.py through ctypes.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "memory.hpp"

namespace {

#ifdef STORE
constexpr unsigned REGISTERS = 6;
constexpr unsigned READ_LATENCY = 5;  // of mensa.rtl.timing
#else
constexpr unsigned REGISTERS = 7;
#endif

struct Command {
    uint32_t registers[7];
    uint32_t gap;  // cycles from being able to SET its first register to doing it
};

struct Result {
    uint64_t go, start, done;
    uint64_t beats;   // on the memory's channel
    uint64_t errors;  // strobes
};

template <class Port> uint8_t *bytes(Port &port) { return reinterpret_cast<uint8_t *>(&port); }

}  // namespace

extern "C" int run(const uint64_t timing[9], unsigned beat_bytes, uint8_t *memory, uint64_t size,
                   uint8_t *buffer, uint64_t space_bytes, const Command *commands,
                   uint64_t count, Result *results, uint64_t limit, char *message) {
    auto top = std::make_unique<Vtop>();
    mensa::Timing time{timing[0], timing[1], timing[2], timing[3], timing[4],
                       timing[5], timing[6], timing[7], timing[8]};
#ifdef STORE
    mensa::WriteChannel channel({memory, size}, beat_bytes, time);
    struct Request {
        bool valid = false;
        uint64_t address = 0;
    } requests[READ_LATENCY];
#else
    mensa::ReadChannel channel({memory, size}, beat_bytes, time);
#endif
    top->available = 0;
    top->reset = 0;
    top->stop = 0;
    top->window_first = 0;
    top->window_last = (1 << 20) - 1;  // of the pages: all of memory
    top->rst = 1;
    top->clk = 0;
    top->eval();
    top->clk = 1;
    top->eval();
    top->rst = 0;

    uint64_t next = 0, started = 0, finished = 0, errors = 0, beats = 0;
    unsigned step = 0, waited = 0;
    for (uint64_t cycle = 0; finished < count; cycle++) {
        if (cycle == limit) {
            snprintf(message, 200, "after %llu cycles %llu of %llu commands are done",
                     (unsigned long long)limit, (unsigned long long)finished,
                     (unsigned long long)count);
            return 1;
        }
        top->clk = 0;
        // The fetch unit's part: SET every register, then GO; neither while pending.
        top->command_set_valid = 0;
        top->command_go_valid = 0;
        top->eval();
        if (next < count && !top->command_pending) {
            if (step == 0 && waited < commands[next].gap) {
                waited++;
            } else if (step < REGISTERS) {
                top->command_set_valid = 1;
                top->command_set_register = step;
                top->command_set_value = commands[next].registers[step];
                step++;
            } else {
                top->command_go_valid = 1;
                top->command_go_tag = next & 0xffff;
                results[next].go = cycle;
                next++;
                step = waited = 0;
            }
        }
#ifdef STORE
        top->bus_awready = channel.awready();
        top->bus_wready = channel.wready();
        top->bus_bvalid = channel.bvalid();
        top->bus_bresp = channel.bresp();
        const Request &answer = requests[cycle % READ_LATENCY];
        memset(bytes(top->read_data), 0xa5, beat_bytes);
        if (answer.valid)
            memcpy(bytes(top->read_data), buffer + answer.address, beat_bytes);
#else
        top->bus_arready = channel.arready();
        top->bus_rvalid = channel.rvalid();
        top->bus_rlast = channel.rlast();
        top->bus_rresp = channel.rresp();
        memcpy(bytes(top->bus_rdata), channel.rdata(), beat_bytes);
#endif
        top->eval();

        if (top->start)
            results[started++].start = cycle;
        errors += top->error;
#ifdef STORE
        if (top->read_valid && top->read_address + beat_bytes > space_bytes) {
            snprintf(message, 200, "cycle %llu reads the buffer at %x", (unsigned long long)cycle,
                     top->read_address);
            return 1;
        }
        requests[cycle % READ_LATENCY] = {bool(top->read_valid), top->read_address};
        channel.clock(top->bus_awvalid, top->bus_awaddr, top->bus_awlen, top->bus_wvalid,
                      bytes(top->bus_wdata), bytes(top->bus_wstrb), top->bus_wlast,
                      top->bus_bready);
#else
        if (top->write_valid) {
            if (top->write_address + beat_bytes > space_bytes || started == finished) {
                snprintf(message, 200, "cycle %llu writes the buffer at %x",
                         (unsigned long long)cycle, top->write_address);
                return 1;
            }
            uint8_t *to = buffer + top->write_space * space_bytes + top->write_address;
            for (unsigned i = 0; i < beat_bytes; i++)
                if (bytes(top->write_mask)[i / 8] >> (i % 8) & 1)
                    to[i] = bytes(top->write_data)[i];
        }
        channel.clock(top->bus_arvalid, top->bus_araddr, top->bus_arlen, top->bus_rready);
#endif
        if (top->done) {
            Result &result = results[finished++];
            result.done = cycle;
            result.beats = channel.beats() - beats;
            result.errors = errors;
            beats = channel.beats();
            errors = 0;
        }
        top->clk = 1;
        top->eval();
    }
    const mensa::Fault &fault = channel.fault();
    message[0] = 0;
    if (fault.what)
        snprintf(message, 200, "%s: address %llx", fault.what, (unsigned long long)fault.address);
    return 0;
}
