// The simulated memory, seen through one AXI channel pair at a time.
//
// The cycle rules are those of docs/architecture.md, "Memory, and its time"; sim/memory.py turns
// nanoseconds and bytes per second into the numbers of `Timing`, and sim/engines/model/dma.py predicts
// what comes out. In every clock cycle the caller
//
//   1. drives the core's inputs from the channel's outputs (const member functions; they depend on
//      state only, never on what the manager does in the same cycle),
//   2. lets the combinational logic settle,
//   3. calls clock() once, with what the manager drives in this cycle.
//
// Beat data and strobes are pointers to little-endian bytes, so any width of port will do: the
// address of a Verilated port is such a pointer, whatever its C++ type.

#ifndef MENSA_MEMORY_HPP
#define MENSA_MEMORY_HPP

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

namespace mensa {

constexpr unsigned OKAY = 0;
constexpr unsigned SLVERR = 2;
constexpr uint64_t PAGE_BYTES = 4096;

// What the manager did wrong, first occurrence only. `what` is null while all is well.
struct Fault {
    const char *what = nullptr;
    uint64_t address = 0;
    uint64_t cycle = 0;
};

// The bytes behind a port. Does not own them.
struct Bytes {
    uint8_t *data;
    uint64_t size;

    bool contains(uint64_t address, uint64_t length) const {
        return address <= size && length <= size - address;
    }
};

// A channel's time, `PortTiming` in sim/memory.py: latency in cycles (at least 1), `num`/`den` beats
// per cycle (num <= den), and bursts that may be in flight (at least 1).
struct Timing {
    uint64_t latency;
    uint64_t num;
    uint64_t den;
    uint64_t outstanding;
    // Rows of the banks, and what a burst waits for each that is not open; 0 bytes: of no account.
    uint64_t row_bytes = 0;
    uint64_t banks = 1;
    uint64_t row_miss = 0;
    // Refresh; an interval of 0: none.
    uint64_t refresh_interval = 0;
    uint64_t refresh = 0;
};

// The open rows of a channel. Cycles are counted from the program's first on.
class Rows {
public:
    explicit Rows(Timing timing) : timing_(timing), open_(timing.banks) {}

    // Cycles that a burst accepted in a cycle waits for its rows, which are open afterwards.
    uint64_t delay(uint64_t accepted, uint64_t address, uint64_t length) {
        if (!timing_.row_bytes)
            return 0;
        uint64_t interval = timing_.refresh_interval ? accepted / timing_.refresh_interval : 0;
        uint64_t missed = 0;
        for (uint64_t row = address / timing_.row_bytes;
             row <= (address + length - 1) / timing_.row_bytes; row++) {
            Open &bank = open_[row % timing_.banks];
            if (!bank.is_open || bank.row != row || bank.interval != interval) {
                bank = Open{true, row, interval};  // a refresh closes all rows
                missed++;
            }
        }
        return missed * timing_.row_miss;
    }

    // The first cycle from this one on that is in no refresh.
    uint64_t after_refresh(uint64_t cycle) const {
        if (!timing_.refresh_interval)
            return cycle;
        uint64_t place = cycle % timing_.refresh_interval;
        bool refreshes = cycle >= timing_.refresh_interval && place < timing_.refresh;
        return refreshes ? cycle - place + timing_.refresh : cycle;
    }

private:
    struct Open {
        bool is_open;
        uint64_t row, interval;
    };

    Timing timing_;
    std::vector<Open> open_;
};

// Bandwidth: refilled at the start of every cycle, and a beat costs `den`. The bound is what is left
// over at most in the cycle in which a beat goes, so that no fraction of a beat is ever lost.
class Credit {
public:
    Credit(uint64_t num, uint64_t den) : num_(num), den_(den), value_(den + num - 1) {}

    bool enough() const { return value_ >= den_; }

    // The edge at the end of a cycle, together with the refill of the next.
    void clock(bool taken) {
        if (taken)
            value_ -= den_;
        value_ = std::min(value_ + num_, den_ + num_ - 1);
    }

private:
    uint64_t num_, den_, value_;
};

// What the read and the write channel share: address requests, their checks, and the clock.
class Channel {
public:
    const Fault &fault() const { return fault_; }
    uint64_t cycle() const { return cycle_; }
    uint64_t beats() const { return beats_; }    // transferred so far
    uint64_t bursts() const { return bursts_; }  // accepted so far

    // The program's first cycle is this one.
    void begin() { begun_ = cycle_; }

protected:
    Channel(Bytes memory, unsigned beat_bytes, Timing timing)
        : memory_(memory), beat_bytes_(beat_bytes), timing_(timing), credit_(timing.num, timing.den),
          rows_(timing) {}

    // Cycles by which rows delay a burst that is accepted in this cycle.
    uint64_t delay(uint64_t address, unsigned beats) {
        return rows_.delay(cycle_ - begun_, align(address), uint64_t(beats) * beat_bytes_);
    }

    uint64_t after_refresh(uint64_t cycle) const {
        return begun_ + rows_.after_refresh(cycle - begun_);
    }

    void complain(const char *what, uint64_t address) {
        if (!fault_.what)
            fault_ = Fault{what, address, cycle_};
    }

    // AXI: a request stays as it is until it is accepted. Returns whether it is, in this cycle.
    bool request(bool valid, bool ready, uint64_t address, unsigned length) {
        if (waiting_ && (!valid || address != waiting_address_ || length != waiting_length_))
            complain("a request changed before it was accepted", waiting_address_);
        waiting_ = valid && !ready;
        waiting_address_ = address;
        waiting_length_ = length;
        if (!valid || !ready)
            return false;
        uint64_t first = align(address);
        if (first / PAGE_BYTES != (first + uint64_t(length) * beat_bytes_) / PAGE_BYTES)
            complain("a burst crosses a page", address);
        bursts_++;
        return true;
    }

    uint64_t align(uint64_t address) const { return address - address % beat_bytes_; }

    Bytes memory_;
    unsigned beat_bytes_;
    Timing timing_;
    Credit credit_;
    Fault fault_;
    uint64_t cycle_ = 0, beats_ = 0, bursts_ = 0;

private:
    Rows rows_;
    uint64_t begun_ = 0;
    bool waiting_ = false;
    uint64_t waiting_address_ = 0;
    unsigned waiting_length_ = 0;
};

// AR and R: bursts of whole beats, answered in order.
class ReadChannel : public Channel {
public:
    ReadChannel(Bytes memory, unsigned beat_bytes, Timing timing)
        : Channel(memory, beat_bytes, timing), nothing_(beat_bytes, 0) {}

    bool arready() const { return bursts_in_flight_.size() < timing_.outstanding; }

    bool rvalid() const {
        return !bursts_in_flight_.empty() && bursts_in_flight_.front().offered <= cycle_ &&
               credit_.enough();
    }

    bool rlast() const {
        return !bursts_in_flight_.empty() && bursts_in_flight_.front().beats == 1;
    }

    unsigned rresp() const { return rvalid() && !inside() ? SLVERR : OKAY; }

    // `beat_bytes` bytes; zeros while there is no beat or it lies outside the memory.
    const uint8_t *rdata() const {
        return rvalid() && inside() ? memory_.data + bursts_in_flight_.front().address
                                    : nothing_.data();
    }

    bool idle() const { return bursts_in_flight_.empty(); }
    uint64_t in_flight() const { return bursts_in_flight_.size(); }

    // `arlen` as on the bus: beats - 1.
    void clock(bool arvalid, uint64_t araddr, unsigned arlen, bool rready) {
        bool accepted = request(arvalid, arready(), araddr, arlen);
        bool taken = rvalid() && rready;
        if (taken) {
            Burst &burst = bursts_in_flight_.front();
            if (!inside())
                complain("a read outside the memory", burst.address);
            burst.address += beat_bytes_;
            beats_++;
            if (--burst.beats == 0)
                bursts_in_flight_.pop_front();
        }
        if (accepted) {
            uint64_t offered = cycle_ + timing_.latency + delay(araddr, arlen + 1u);
            bursts_in_flight_.push_back(Burst{align(araddr), arlen + 1u, after_refresh(offered)});
        }
        credit_.clock(taken);
        cycle_++;
    }

private:
    struct Burst {
        uint64_t address;  // of the next beat
        unsigned beats;    // still to go
        uint64_t offered;  // first cycle in which a beat may go
    };

    bool inside() const {
        return memory_.contains(bursts_in_flight_.front().address, beat_bytes_);
    }

    std::deque<Burst> bursts_in_flight_;
    std::vector<uint8_t> nothing_;
};

// AW, W and B: data in the order of the requests, and a response for each burst in that order.
class WriteChannel : public Channel {
public:
    WriteChannel(Bytes memory, unsigned beat_bytes, Timing timing)
        : Channel(memory, beat_bytes, timing) {}

    bool awready() const { return bursts_in_flight_.size() < timing_.outstanding; }
    bool wready() const { return filling_ < bursts_in_flight_.size() && credit_.enough(); }
    bool bvalid() const { return filling_ > 0 && cycle_ >= bursts_in_flight_.front().answer; }
    unsigned bresp() const {
        return bvalid() && bursts_in_flight_.front().outside ? SLVERR : OKAY;
    }
    bool idle() const { return bursts_in_flight_.empty(); }
    uint64_t in_flight() const { return bursts_in_flight_.size(); }
    uint64_t complete() const { return filling_; }  // of these, the ones that only lack a response

    // `awlen` as on the bus: beats - 1. `wdata`: beat_bytes bytes; `wstrb`: beat_bytes bits.
    void clock(bool awvalid, uint64_t awaddr, unsigned awlen, bool wvalid, const uint8_t *wdata,
               const uint8_t *wstrb, bool wlast, bool bready) {
        bool accepted = request(awvalid, awready(), awaddr, awlen);
        bool taken = wvalid && wready();
        bool answered = bvalid() && bready;
        if (taken) {
            Burst &burst = bursts_in_flight_[filling_];
            write(burst, wdata, wstrb);
            if (wlast != (burst.beats == 1))
                complain("WLAST is not at the end of its burst", burst.address);
            burst.address += beat_bytes_;
            beats_++;
            if (--burst.beats == 0) {
                burst.answer = after_refresh(cycle_ + timing_.latency + burst.delay);
                filling_++;
            }
        }
        if (answered) {
            bursts_in_flight_.pop_front();
            filling_--;
        }
        if (accepted)
            bursts_in_flight_.push_back(
                Burst{align(awaddr), awlen + 1u, delay(awaddr, awlen + 1u), 0, false});
        credit_.clock(taken);
        cycle_++;
    }

private:
    struct Burst {
        uint64_t address;  // of the next beat
        unsigned beats;    // still to come
        uint64_t delay;    // of the response, by the rows
        uint64_t answer;   // first cycle of the response
        bool outside;
    };

    void write(Burst &burst, const uint8_t *wdata, const uint8_t *wstrb) {
        if (!memory_.contains(burst.address, beat_bytes_)) {
            complain("a write outside the memory", burst.address);
            burst.outside = true;
            return;
        }
        for (unsigned i = 0; i < beat_bytes_; i++)
            if (wstrb[i / 8] >> (i % 8) & 1)
                memory_.data[burst.address + i] = wdata[i];
    }

    std::deque<Burst> bursts_in_flight_;
    size_t filling_ = 0;  // the burst whose beats come next; those before it wait for their response
};

}  // namespace mensa

#endif
