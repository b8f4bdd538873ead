// The Verilated core and its memory: the clock loop behind sim/engines/rtl.py, which owns the
// meaning of everything here. Python calls `mensa_open`, and for each program `mensa_start`, then
// `mensa_advance` until it says that the program ended or that nothing moves any more, then reads
// result, events and buffers. The core lives on from one program to the next.
//
// core_config.hpp is written for each machine by sim/engines/rtl.py: BEAT_BYTES, the offsets of the
// control registers, and MENSA_BUFFERS, the memories whose contents can be read.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "Vtop___024root.h"
#include "core_config.hpp"
#include "memory.hpp"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr unsigned UNITS = 3;
constexpr unsigned LOAD = 0, COMPUTE = 1, STORE = 2;  // mensa.rtl.commands.Unit
constexpr unsigned PORTS = 3;  // command, data read, data write
constexpr unsigned CATEGORIES = 6;
constexpr unsigned COMPUTING = 0;  // the category in which the operand feed emits
constexpr unsigned COMMAND_BEAT_BYTES = 8;
constexpr uint64_t LITE_WATCHDOG = 10000;  // cycles for one access to the control port
constexpr mensa::Timing NO_TIMING{1, 1, 1, 1};  // before the first program nothing is asked for

enum Outcome : uint32_t {
    RUNNING = 0,
    ENDED = 1,
    STALLED = 2,     // nothing moved for `stall_limit` cycles
    TOO_LONG = 3,    // `max_cycles` are over
    NO_ANSWER = 4,   // the control port did not answer
    NOT_QUIET = 5,   // the core told the end while a burst was on its way
};

}  // namespace

extern "C" {

struct MensaTiming {
    uint64_t latency, num, den, outstanding, row_bytes, banks, row_miss, refresh_interval, refresh;
};

struct MensaEvent {
    uint64_t unit, tag, start, done, beats;
    uint64_t categories[CATEGORIES];  // of the cycles 0 to done
};

struct MensaArguments {
    uint8_t *memory;
    uint64_t size;
    uint64_t program_address;
    MensaTiming command, data_read, data_write;
    uint64_t max_cycles, stall_limit;
    void (*hook)(const MensaEvent *, uint64_t number);  // after every command, or null
};

// A memory channel in one cycle; sim/engines/watchdog.py says what the numbers mean.
struct MensaPort {
    uint64_t in_flight, complete, valid, ready;
};

struct MensaSnapshot {
    uint64_t word, fetched, pending, running, missing[UNITS];
    MensaPort ports[PORTS];
};

struct MensaResult {
    uint64_t outcome;
    uint64_t cycles;  // busy ones
    uint64_t categories[CATEGORIES];
    uint64_t read_beats, write_beats, fetch_beats;
    uint64_t status, word;  // the control registers STATUS and PROGRAM_WORD
    uint64_t counters[COUNTERS];
    MensaSnapshot snapshot;  // of the last cycle
    const char *fault;  // the first broken rule of a memory port, or null
    uint64_t fault_port, fault_address, fault_cycle;  // port 0 command, 1 data read, 2 data write
};

struct MensaBuffer {
    const char *name;
    const uint8_t *data;
    uint64_t depth, stride;  // rows, and bytes from row to row
};

}  // extern "C"

namespace {

template <typename Port> uint8_t *bytes(Port &port) { return reinterpret_cast<uint8_t *>(&port); }

template <typename Memory> MensaBuffer buffer(const char *name, const Memory &memory) {
    using Row = std::remove_reference_t<decltype(memory[0])>;
    return {name, reinterpret_cast<const uint8_t *>(&memory[0]), sizeof(memory) / sizeof(Row),
            sizeof(Row)};
}

class Core {
public:
    // `vcd`: where the waves go, or null.
    explicit Core(const char *vcd)
        : context_(new VerilatedContext), top_(new Vtop(context_.get(), "")) {
#if VM_TRACE
        if (vcd) {
            context_->traceEverOn(true);
            vcd_.reset(new VerilatedVcdC);
            top_->trace(vcd_.get(), 99);
            vcd_->open(vcd);
        }
#else
        (void)vcd;
#endif
        const auto &root = *top_->rootp;
#define MENSA_ONE_BUFFER(name, member) buffers.push_back(buffer(name, root.member));
        MENSA_BUFFERS(MENSA_ONE_BUFFER)
#undef MENSA_ONE_BUFFER
        top_->rst = 1;
        edge();
        edge();
        top_->rst = 0;
    }

    ~Core() {
#if VM_TRACE
        if (vcd_)
            vcd_->close();
#endif
        top_->final();
        // Its destructor takes it out of the thread's context, which may be another core's.
        Verilated::threadContextp(context_.get());
    }

    // Begin a program.
    void start(const MensaArguments &arguments) {
        arguments_ = arguments;
        arguments_.hook = nullptr;
        result = {};
        quiet_ = 0;
        mensa::Bytes memory{arguments.memory, arguments.size};
        command_ = {memory, COMMAND_BEAT_BYTES, timing(arguments.command)};
        read_ = {memory, BEAT_BYTES, timing(arguments.data_read)};
        write_ = {memory, BEAT_BYTES, timing(arguments.data_write)};
        arguments_ = arguments;
        result = {};
        events.clear();
        hooked_ = 0;
        quiet_ = 0;
        for (unsigned unit = 0; unit < UNITS; unit++) {
            starts_[unit].clear();
            counted_[unit] = 0;
        }
        if (!write(PROGRAM_ADDRESS, uint32_t(arguments_.program_address)) ||
            !write(CONTROL, START | INTERRUPT_ENABLE))
            result.outcome = NO_ANSWER;
    }

    // Run for up to `cycles` more.
    uint64_t advance(uint64_t cycles) {
        if (result.outcome != RUNNING)
            return result.outcome;
        for (uint64_t i = 0; i < cycles && result.outcome == RUNNING; i++) {
            if (top_->irq)
                result.outcome = ports_are_quiet() ? ENDED : NOT_QUIET;
            else if (result.cycles >= arguments_.max_cycles)
                result.outcome = TOO_LONG;
            else if (quiet_ >= arguments_.stall_limit)
                result.outcome = STALLED;
            else
                cycle();
        }
        if (result.outcome != RUNNING)
            finish();
        return result.outcome;
    }

    MensaResult result{};
    std::vector<MensaEvent> events;
    std::vector<MensaBuffer> buffers;

private:
    static mensa::Timing timing(const MensaTiming &t) {
        return {t.latency,  t.num,      t.den,      t.outstanding,      t.row_bytes,
                t.banks,    t.row_miss, t.refresh_interval, t.refresh};
    }

    bool ports_are_quiet() const { return command_.idle() && read_.idle() && write_.idle(); }

    // Let the inputs settle; afterwards the outputs are those of this cycle.
    void settle() {
        top_->clk = 0;
        top_->eval();
        dump();
    }

    // The rising edge that ends this cycle.
    void rise() {
        top_->clk = 1;
        top_->eval();
        dump();
    }

    void edge() {
        settle();
        rise();
    }

    void dump() {
        context_->timeInc(1);
#if VM_TRACE
        if (vcd_)
            vcd_->dump(context_->time());
#endif
    }

    // What the memory gives the core in this cycle.
    void drive() {
        Vtop &top = *top_;
        top.m_axi_command_arready = command_.arready();
        top.m_axi_command_rvalid = command_.rvalid();
        top.m_axi_command_rlast = command_.rlast();
        top.m_axi_command_rresp = command_.rresp();
        std::memcpy(bytes(top.m_axi_command_rdata), command_.rdata(), COMMAND_BEAT_BYTES);
#define MENSA_DRIVE(lane, port)                                                                   \
    top.port##arready = read_.arready();                                                          \
    top.port##rvalid = read_.rvalid();                                                            \
    top.port##rlast = read_.rlast();                                                              \
    top.port##rresp = read_.rresp();                                                              \
    std::memcpy(bytes(top.port##rdata), read_.rdata() + lane * LANE_BYTES, LANE_BYTES);           \
    top.port##awready = write_.awready();                                                         \
    top.port##wready = write_.wready();                                                           \
    top.port##bvalid = write_.bvalid();                                                           \
    top.port##bresp = write_.bresp();
        MENSA_LANES(MENSA_DRIVE)
    }

    // What the core writes: the lanes' parts of a beat side by side. Memory answers all lanes alike,
    // so that they must ask alike.
    void gather() {
        Vtop &top = *top_;
#define MENSA_GATHER(lane, port)                                                                  \
    std::memcpy(wdata_ + lane * LANE_BYTES, bytes(top.port##wdata), LANE_BYTES);                  \
    std::memcpy(wstrb_ + lane * STROBE_BYTES, bytes(top.port##wstrb), STROBE_BYTES);              \
    if (top.port##arvalid != top.MENSA_LANE_0(arvalid) ||                                         \
        top.port##araddr != top.MENSA_LANE_0(araddr) ||                                           \
        top.port##arlen != top.MENSA_LANE_0(arlen) ||                                             \
        top.port##rready != top.MENSA_LANE_0(rready) ||                                           \
        top.port##awvalid != top.MENSA_LANE_0(awvalid) ||                                         \
        top.port##awaddr != top.MENSA_LANE_0(awaddr) ||                                           \
        top.port##awlen != top.MENSA_LANE_0(awlen) ||                                             \
        top.port##wvalid != top.MENSA_LANE_0(wvalid) ||                                           \
        top.port##wlast != top.MENSA_LANE_0(wlast) ||                                         \
        top.port##bready != top.MENSA_LANE_0(bready))                                             \
        report(1, {"the lanes of the data port are not in lock step", top.port##araddr,           \
                   read_.cycle()});
        MENSA_LANES(MENSA_GATHER)
    }

    // One clock cycle: memory, core, tallies.
    void cycle() {
        Vtop &top = *top_;
        drive();
        settle();
        if (top.trace_busy && result.cycles == 0) {
            command_.begin();
            read_.begin();
            write_.begin();
        }

        uint64_t before = command_.beats() + read_.beats() + write_.beats();
        uint64_t fetched = command_.beats();
        command_.clock(top.m_axi_command_arvalid, top.m_axi_command_araddr, top.m_axi_command_arlen,
                       top.m_axi_command_rready);
        gather();
        read_.clock(top.MENSA_LANE_0(arvalid), LANES * uint64_t(top.MENSA_LANE_0(araddr)),
                    top.MENSA_LANE_0(arlen), top.MENSA_LANE_0(rready));
        write_.clock(top.MENSA_LANE_0(awvalid), LANES * uint64_t(top.MENSA_LANE_0(awaddr)),
                     top.MENSA_LANE_0(awlen), top.MENSA_LANE_0(wvalid), wdata_, wstrb_,
                     top.MENSA_LANE_0(wlast), top.MENSA_LANE_0(bready));
        bool moved = command_.beats() + read_.beats() + write_.beats() != before;
        size_t ended = events.size();  // commands, before this cycle
        if (top.trace_busy) {
            result.fetch_beats += command_.beats() - fetched;
            result.read_beats = read_.beats();
            result.write_beats = write_.beats();
            tally();
            moved |= events.size() != ended || top.trace_start || top.trace_category == COMPUTING;
            result.cycles++;
        }
        quiet_ = moved ? 0 : quiet_ + 1;
        rise();
        // What a command writes to a buffer in its last cycle is in the memory a cycle later.
        for (; hooked_ < ended; hooked_++)
            if (arguments_.hook)
                arguments_.hook(&events[hooked_], hooked_);
    }

    // Count what happens in this busy cycle.
    void tally() {
        const Vtop &top = *top_;
        if (top.trace_category < CATEGORIES)
            result.categories[top.trace_category]++;
        const uint64_t tags[UNITS] = {top.trace_tag_load, top.trace_tag_compute,
                                      top.trace_tag_store};
        const uint64_t beats[UNITS] = {read_.beats(), 0, write_.beats()};
        for (unsigned unit = 0; unit < UNITS; unit++) {
            if (top.trace_start >> unit & 1)
                starts_[unit].push_back(result.cycles);
            if (top.trace_done >> unit & 1 && !starts_[unit].empty()) {
                MensaEvent event{unit, tags[unit], starts_[unit].front(), result.cycles,
                                 beats[unit] - counted_[unit], {}};
                starts_[unit].pop_front();
                std::copy_n(result.categories, CATEGORIES, event.categories);
                counted_[unit] = beats[unit];
                events.push_back(event);
            }
        }
    }

    void finish() {
        drive();
        settle();
        result.snapshot = snapshot();
        report(0, command_.fault());
        report(1, read_.fault());
        report(2, write_.fault());
        // The access cycles of a core that still runs don't belong to the result.
        MensaResult kept = result;
        size_t count = events.size();
        arguments_.hook = nullptr;
        bool answered = read(STATUS, kept.status) && read(PROGRAM_WORD, kept.word);
        for (unsigned i = 0; i < COUNTERS && answered; i++) {
            uint64_t low = 0, high = 0;
            answered = read(COUNTER_BASE + 8 * i, low) && read(COUNTER_BASE + 8 * i + 4, high);
            kept.counters[i] = high << 32 | low;
        }
        result = kept;
        events.resize(count);
        if (!answered)
            result.outcome = NO_ANSWER;
#if VM_TRACE
        if (vcd_)
            vcd_->flush();
#endif
    }

    MensaSnapshot snapshot() const {
        const Vtop &top = *top_;
        return {
            top.trace_word,
            result.fetch_beats,
            top.trace_pending,
            top.trace_running,
            {top.trace_missing_load, top.trace_missing_compute, top.trace_missing_store},
            {
                {command_.in_flight(), 0,
                 bits(top.m_axi_command_arvalid, top.m_axi_command_rvalid),
                 bits(top.m_axi_command_arready, top.m_axi_command_rready)},
                {read_.in_flight(), 0, bits(top.MENSA_LANE_0(arvalid), top.MENSA_LANE_0(rvalid)),
                 bits(top.MENSA_LANE_0(arready), top.MENSA_LANE_0(rready))},
                {write_.in_flight(), write_.complete(),
                 bits(top.MENSA_LANE_0(awvalid), top.MENSA_LANE_0(wvalid), top.MENSA_LANE_0(bvalid)),
                 bits(top.MENSA_LANE_0(awready), top.MENSA_LANE_0(wready), top.MENSA_LANE_0(bready))},
            },
        };
    }

    static uint64_t bits(bool first, bool second, bool third = false) {
        return uint64_t(first) | uint64_t(second) << 1 | uint64_t(third) << 2;
    }

    void report(unsigned port, const mensa::Fault &fault) {
        if (!fault.what || result.fault)
            return;
        result.fault = fault.what;
        result.fault_port = port;
        result.fault_address = fault.address;
        result.fault_cycle = fault.cycle;
    }

    // One write on the control port. Returns: whether it was answered with OKAY.
    bool write(uint32_t address, uint32_t value) {
        Vtop &top = *top_;
        top.s_axi_control_awaddr = address;
        top.s_axi_control_wdata = value;
        top.s_axi_control_wstrb = 15;
        top.s_axi_control_bready = 1;
        bool aw = false, w = false;
        for (uint64_t i = 0; i < LITE_WATCHDOG; i++) {
            top.s_axi_control_awvalid = !aw;
            top.s_axi_control_wvalid = !w;
            top.clk = 0;
            top.eval();  // what the manager sees; cycle() settles again with the memory's inputs
            bool aw_taken = !aw && top.s_axi_control_awready;
            bool w_taken = !w && top.s_axi_control_wready;
            bool answered = top.s_axi_control_bvalid;
            bool okay = top.s_axi_control_bresp == mensa::OKAY;
            cycle();
            aw |= aw_taken;
            w |= w_taken;
            if (answered) {
                top.s_axi_control_bready = 0;
                return okay;
            }
        }
        return false;
    }

    bool read(uint32_t address, uint64_t &value) {
        Vtop &top = *top_;
        top.s_axi_control_araddr = address;
        top.s_axi_control_rready = 1;
        bool ar = false;
        for (uint64_t i = 0; i < LITE_WATCHDOG; i++) {
            top.s_axi_control_arvalid = !ar;
            top.clk = 0;
            top.eval();
            bool taken = !ar && top.s_axi_control_arready;
            bool answered = ar && top.s_axi_control_rvalid;
            bool okay = top.s_axi_control_rresp == mensa::OKAY;
            value = top.s_axi_control_rdata;
            cycle();
            ar |= taken;
            if (answered) {
                top.s_axi_control_rready = 0;
                return okay;
            }
        }
        return false;
    }

    MensaArguments arguments_{};
    mensa::ReadChannel command_{{}, COMMAND_BEAT_BYTES, NO_TIMING};
    mensa::ReadChannel read_{{}, BEAT_BYTES, NO_TIMING};
    mensa::WriteChannel write_{{}, BEAT_BYTES, NO_TIMING};
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd_;
#endif
    std::deque<uint64_t> starts_[UNITS];  // of the commands in flight
    size_t hooked_ = 0;             // events that the hook has seen
    uint8_t wdata_[BEAT_BYTES] = {}, wstrb_[LANES * STROBE_BYTES] = {};
    uint64_t counted_[UNITS] = {};  // beats of the commands done so far
    uint64_t quiet_ = 0;            // cycles in which nothing moved
};

}  // namespace

extern "C" {

void *mensa_open(const char *vcd) { return new Core(vcd); }

void mensa_start(void *core, const MensaArguments *arguments) {
    static_cast<Core *>(core)->start(*arguments);
}

uint64_t mensa_advance(void *core, uint64_t cycles) {
    return static_cast<Core *>(core)->advance(cycles);
}

const MensaResult *mensa_result(void *core) { return &static_cast<Core *>(core)->result; }

uint64_t mensa_event_count(void *core) { return static_cast<Core *>(core)->events.size(); }

const MensaEvent *mensa_events(void *core) { return static_cast<Core *>(core)->events.data(); }

uint64_t mensa_buffer_count(void *core) { return static_cast<Core *>(core)->buffers.size(); }

const MensaBuffer *mensa_buffers(void *core) { return static_cast<Core *>(core)->buffers.data(); }

void mensa_close(void *core) { delete static_cast<Core *>(core); }

}  // extern "C"
