// Clocks the circuits of netlist_lockstep.py side by side; prints for each when it ever differed.
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <random>
#include <vector>

#include "Vtop.h"

int main() {
    std::mt19937_64 random(1);
    Vtop top;
    auto& differs = top.differs.m_storage;
    std::vector<uint64_t> ever(std::size(differs));
    for (int edge = 0; edge < 20000; edge++) {
        top.clk = edge & 1;
        if (!top.clk) {
            // Bytes of ones, of a sign alone and of zeros are the ends of the operands' domains.
            uint64_t word = random(), mask = random();
            top.i = mask & 3 ? word : (word & 0x0101010101010101) * (mask & 4 ? 0xff : 0x80);
        }
        top.eval();
        for (size_t circuit = 0; circuit < ever.size(); circuit++)
            ever[circuit] |= differs[circuit];
    }
    for (uint64_t mask : ever) std::printf("%" PRIx64 "\n", mask);
}
