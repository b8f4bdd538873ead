// Drives the example system of `mensa rtl` as network.h of `mensa compile` says, in plain Verilog of
// any year. The programs' addresses are in programs.hex; macros say how many there are, how large
// the memory is, and where registers are. Writes after.hex if every program ended well.
`timescale 1ns / 1ps
module bench;
  reg clk = 0, rst = 1;
  always #5 clk = !clk;

  reg [11:0] awaddr = 0, araddr = 0;
  reg [31:0] wdata = 0;
  reg awvalid = 0, wvalid = 0, bready = 0, arvalid = 0, rready = 0;
  wire irq, awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  mensa_edge_tpu_example #(.MEMORY_BYTES(`MEMORY_BYTES), .MEMORY_FILE("memory.hex")) system (
    .clk(clk), .rst(rst), .irq(irq),
    .s_axi_control_awaddr(awaddr), .s_axi_control_awprot(3'd0),
    .s_axi_control_awvalid(awvalid), .s_axi_control_awready(awready),
    .s_axi_control_wdata(wdata), .s_axi_control_wstrb(4'd15),
    .s_axi_control_wvalid(wvalid), .s_axi_control_wready(wready),
    .s_axi_control_bresp(bresp), .s_axi_control_bvalid(bvalid), .s_axi_control_bready(bready),
    .s_axi_control_araddr(araddr), .s_axi_control_arprot(3'd0),
    .s_axi_control_arvalid(arvalid), .s_axi_control_arready(arready),
    .s_axi_control_rdata(rdata), .s_axi_control_rresp(rresp),
    .s_axi_control_rvalid(rvalid), .s_axi_control_rready(rready)
  );

  // An unknown value is no answer: it must not end a wait.
  task write(input [11:0] register, input [31:0] value);
    begin
      awaddr <= register;
      wdata <= value;
      awvalid <= 1;
      wvalid <= 1;
      bready <= 1;
      @(posedge clk);
      while (bvalid !== 1) begin
        if (awready === 1) awvalid <= 0;
        if (wready === 1) wvalid <= 0;
        @(posedge clk);
      end
      bready <= 0;
      if (bresp !== 0) begin
        $display("a write of register %h is answered %b", register, bresp);
        $finish;
      end
    end
  endtask

  task read(input [11:0] register, output [31:0] value);
    begin
      araddr <= register;
      arvalid <= 1;
      rready <= 1;
      @(posedge clk);
      while (rvalid !== 1) begin
        if (arready === 1) arvalid <= 0;
        @(posedge clk);
      end
      rready <= 0;
      value = rdata;
    end
  endtask

  reg [31:0] programs [0:`PROGRAMS - 1];
  reg [31:0] status, cycles;
  integer i;
  initial begin
    $readmemh("programs.hex", programs);
    repeat (2) @(posedge clk);
    rst <= 0;
    for (i = 0; i < `PROGRAMS; i = i + 1) begin
      write(`PROGRAM_ADDRESS, programs[i]);
      write(`CONTROL, 3);  // start, with the interrupt
      while (irq !== 1) @(posedge clk);
      read(`STATUS, status);
      read(`CYCLES_LOW, cycles);
      $display("program %h: status %h, %0d cycles", programs[i], status, cycles);
      if (status !== 2) $finish;  // done, without an error
      write(`STATUS, 2);
    end
    $writememh("after.hex", system.memory.words);
    $finish;
  end

  initial begin
    repeat (`MOST_CYCLES) @(posedge clk);
    $display("after %0d cycles program %h is not over: irq is %b", `MOST_CYCLES, programs[i], irq);
    $finish;
  end
endmodule
