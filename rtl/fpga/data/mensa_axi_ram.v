// A memory with the core's two AXI4 ports: `command` reads 8 bytes a beat, `data` reads and writes
// BEAT_BYTES. One burst at a time and channel, one beat a cycle, rising addresses. An address
// counts modulo SIZE_BYTES, a power of two.
module mensa_axi_ram #(
  parameter BEAT_BYTES = 16,
  parameter SIZE_BYTES = 65536,
  parameter FILE = ""
) (
  input clk,
  input rst,

  input [31:0] command_araddr,
  input [7:0] command_arlen,
  input [2:0] command_arsize,
  input [1:0] command_arburst,
  input command_arvalid,
  output command_arready,
  output [63:0] command_rdata,
  output [1:0] command_rresp,
  output command_rlast,
  output command_rvalid,
  input command_rready,

  input [31:0] data_araddr,
  input [7:0] data_arlen,
  input [2:0] data_arsize,
  input [1:0] data_arburst,
  input data_arvalid,
  output data_arready,
  output [8*BEAT_BYTES-1:0] data_rdata,
  output [1:0] data_rresp,
  output data_rlast,
  output data_rvalid,
  input data_rready,

  input [31:0] data_awaddr,
  input [7:0] data_awlen,
  input [2:0] data_awsize,
  input [1:0] data_awburst,
  input data_awvalid,
  output data_awready,
  input [8*BEAT_BYTES-1:0] data_wdata,
  input [BEAT_BYTES-1:0] data_wstrb,
  input data_wlast,
  input data_wvalid,
  output data_wready,
  output [1:0] data_bresp,
  output reg data_bvalid,
  input data_bready
);
  localparam WORD_BYTES = BEAT_BYTES < 8 ? 8 : BEAT_BYTES;
  localparam LOW = $clog2(WORD_BYTES);
  localparam HIGH = $clog2(SIZE_BYTES);

  reg [8*WORD_BYTES-1:0] words [0:SIZE_BYTES/WORD_BYTES-1];
  generate
    if (FILE != "") begin : filled
      initial $readmemh(FILE, words);
    end
  endgenerate

  // Reads: a word is fetched when the one before is taken, and cut to a beat.
  wire command_fetch, data_fetch;
  wire [HIGH-1:0] command_address, data_address, command_place, data_place;
  reg [8*WORD_BYTES-1:0] command_word, data_word;
  assign command_rresp = 2'b00;
  assign data_rresp = 2'b00;
  always @(posedge clk) begin
    if (command_fetch) command_word <= words[command_address[HIGH-1:LOW]];
    if (data_fetch) data_word <= words[data_address[HIGH-1:LOW]];
  end

  mensa_axi_ram_reader #(.BITS(HIGH), .STEP(8)) command_reader (
    .clk(clk), .rst(rst),
    .araddr(command_araddr[HIGH-1:0]), .arlen(command_arlen),
    .arvalid(command_arvalid), .arready(command_arready),
    .rlast(command_rlast), .rvalid(command_rvalid), .rready(command_rready),
    .fetch(command_fetch), .address(command_address), .place(command_place)
  );
  mensa_axi_ram_reader #(.BITS(HIGH), .STEP(BEAT_BYTES)) data_reader (
    .clk(clk), .rst(rst),
    .araddr(data_araddr[HIGH-1:0]), .arlen(data_arlen),
    .arvalid(data_arvalid), .arready(data_arready),
    .rlast(data_rlast), .rvalid(data_rvalid), .rready(data_rready),
    .fetch(data_fetch), .address(data_address), .place(data_place)
  );

  // Bursts are INCR, of whole beats, and end where their lengths say.
  wire unused = &{1'b0, command_arsize, command_arburst, command_araddr, data_arsize, data_arburst,
                  data_araddr, data_awsize, data_awburst, data_awlen, data_awaddr, command_address,
                  data_address};

  // A write: its data follow its address, and then the response.
  reg writing;
  reg [HIGH-1:0] to;
  wire write = writing && data_wvalid;
  assign data_awready = !writing && !data_bvalid;
  assign data_wready = writing;
  assign data_bresp = 2'b00;
  always @(posedge clk) begin
    if (data_bready) data_bvalid <= 0;
    if (data_awvalid && data_awready) begin
      writing <= 1;
      to <= data_awaddr[HIGH-1:0];
    end
    if (write) begin
      to <= to + BEAT_BYTES;
      if (data_wlast) begin
        writing <= 0;
        data_bvalid <= 1;
      end
    end
    if (rst) begin
      writing <= 0;
      data_bvalid <= 0;
    end
  end

  // Beats narrower than a word, and commands in wide words, are parts of it.
  wire [8*WORD_BYTES-1:0] write_word = {WORD_BYTES/BEAT_BYTES{data_wdata}};
  wire [WORD_BYTES-1:0] write_bytes;
  generate
    if (WORD_BYTES == BEAT_BYTES) begin : whole
      assign data_rdata = data_word;
      assign write_bytes = data_wstrb;
      wire unused_place = &{1'b0, data_place};
    end else begin : parts
      assign data_rdata = data_word[{data_place[LOW-1:2], 5'd0} +: 8*BEAT_BYTES];
      assign write_bytes = {{WORD_BYTES-BEAT_BYTES{1'b0}}, data_wstrb} << to[LOW-1:0];
      wire unused_place = &{1'b0, data_place};
    end
    if (WORD_BYTES == 8) begin : narrow
      assign command_rdata = command_word;
      wire unused_place = &{1'b0, command_place};
    end else begin : wide
      assign command_rdata = command_word[{command_place[LOW-1:3], 6'd0} +: 64];
      wire unused_place = &{1'b0, command_place};
    end
  endgenerate

  integer i;
  always @(posedge clk) begin
    for (i = 0; i < WORD_BYTES; i = i + 1)
      if (write && write_bytes[i]) words[to[HIGH-1:LOW]][8*i +: 8] <= write_word[8*i +: 8];
  end
endmodule

// The AR and R channels of one port, one burst at a time. A word is to be fetched from `address`
// where `fetch` is high, and its beat is at `place` in the next cycle.
module mensa_axi_ram_reader #(
  parameter BITS = 16,
  parameter STEP = 8
) (
  input clk,
  input rst,
  input [BITS-1:0] araddr,
  input [7:0] arlen,
  input arvalid,
  output arready,
  output reg rlast,
  output reg rvalid,
  input rready,
  output fetch,
  output reg [BITS-1:0] address,
  output reg [BITS-1:0] place
);
  reg busy;
  reg [7:0] left;
  assign arready = !busy;
  assign fetch = busy && (!rvalid || rready);
  always @(posedge clk) begin
    if (rready) rvalid <= 0;
    if (fetch) begin
      place <= address;
      address <= address + STEP;
      left <= left - 1;
      rvalid <= 1;
      rlast <= left == 0;
      if (left == 0) busy <= 0;
    end
    if (arvalid && arready) begin
      busy <= 1;
      address <= araddr;
      left <= arlen;
    end
    if (rst) begin
      busy <= 0;
      rvalid <= 0;
    end
  end
endmodule
