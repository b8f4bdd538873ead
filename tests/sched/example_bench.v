// Drives the example system of `mensa rtl` as network.h of `mensa compile` says, in plain Verilog of
// any year, beside the AXI checker. The programs' addresses are in programs.hex; macros say how many
// there are, how large memory and beats are, and where registers are. Writes after.hex if every program ended well.
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

  // The rules of AXI on the memory's ports, and that nothing on them is unknown.
  wire [31:0] broken_command, broken_read, broken_write;
  wire [7:0] first_command, first_read, first_write;
  axi_read_checker #(.BYTES(8)) check_command (
    .clk(clk), .rst(rst), .violations(broken_command), .first(first_command), .outstanding(),
    .araddr(system.m_axi_command_araddr), .arlen(system.m_axi_command_arlen),
    .arsize(system.m_axi_command_arsize), .arburst(system.m_axi_command_arburst),
    .arprot(system.m_axi_command_arprot), .arvalid(system.m_axi_command_arvalid),
    .arready(system.m_axi_command_arready),
    .rdata(system.m_axi_command_rdata), .rresp(system.m_axi_command_rresp),
    .rlast(system.m_axi_command_rlast), .rvalid(system.m_axi_command_rvalid),
    .rready(system.m_axi_command_rready)
  );
  axi_read_checker #(.BYTES(`BEAT_BYTES)) check_read (
    .clk(clk), .rst(rst), .violations(broken_read), .first(first_read), .outstanding(),
    .araddr(system.m_axi_data_araddr), .arlen(system.m_axi_data_arlen),
    .arsize(system.m_axi_data_arsize), .arburst(system.m_axi_data_arburst),
    .arprot(system.m_axi_data_arprot), .arvalid(system.m_axi_data_arvalid),
    .arready(system.m_axi_data_arready),
    .rdata(system.m_axi_data_rdata), .rresp(system.m_axi_data_rresp),
    .rlast(system.m_axi_data_rlast), .rvalid(system.m_axi_data_rvalid),
    .rready(system.m_axi_data_rready)
  );
  axi_write_checker #(.BYTES(`BEAT_BYTES)) check_write (
    .clk(clk), .rst(rst), .violations(broken_write), .first(first_write), .outstanding(),
    .awaddr(system.m_axi_data_awaddr), .awlen(system.m_axi_data_awlen),
    .awsize(system.m_axi_data_awsize), .awburst(system.m_axi_data_awburst),
    .awprot(system.m_axi_data_awprot), .awvalid(system.m_axi_data_awvalid),
    .awready(system.m_axi_data_awready),
    .wdata(system.m_axi_data_wdata), .wstrb(system.m_axi_data_wstrb),
    .wlast(system.m_axi_data_wlast), .wvalid(system.m_axi_data_wvalid),
    .wready(system.m_axi_data_wready),
    .bresp(system.m_axi_data_bresp), .bvalid(system.m_axi_data_bvalid),
    .bready(system.m_axi_data_bready)
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
    if (broken_command || broken_read || broken_write) begin
      $display("broken rules: %h, %h, %h", first_command, first_read, first_write);
      $finish;
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
