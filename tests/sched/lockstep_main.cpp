// Clocks the circuits of test_synth_registers.py side by side; prints which ever differed.
#include <cinttypes>
#include <cstdio>
#include <random>

#include "Vtop.h"

int main() {
    std::mt19937_64 random(1);
    Vtop top;
    uint64_t plain = 0, moved = 0, early = 0;
    for (int edge = 0; edge < 20000; edge++) {
        top.clk = edge & 1;
        if (!top.clk) {
            // Bytes of ones, of a sign alone and of zeros are the ends of the operands' domains.
            uint64_t word = random(), mask = random();
            top.i = mask & 3 ? word : (word & 0x0101010101010101) * (mask & 4 ? 0xff : 0x80);
        }
        top.eval();
        plain |= top.plain_differs;
        moved |= top.moved_differs;
        early |= top.early_differs;
    }
    std::printf("%" PRIx64 " %" PRIx64 " %" PRIx64 "\n", plain, moved, early);
}
