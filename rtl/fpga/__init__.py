"""From Verilog to an FPGA: synthesis, place and route, and the files for a board."""
