// Clocks the counter of test_verilator.py five times and exits with its count.
#include "Vtop.h"

int main() {
    Vtop top;
    for (int edge = 0; edge < 10; edge++) {
        top.clk = edge & 1;
        top.eval();
    }
    return top.count;
}
