// Checks the rules of AXI4 and AXI4-Lite (AMBA AXI Protocol Specification, Arm IHI 0022) on ports
// with one identifier, whose bursts are INCR: both sides, from the first reset on. It stands beside
// a design of which it knows nothing.
//
// Every module counts violations, at most one a cycle and channel, and keeps the first: its channel
// in bits 7:4, its rule in bits 3:0; where a cycle has several, that of the lowest channel.
//
//   channel  1 AR   2 R   3 AW   4 W   5 B
//   rule     1 VALID or READY is unknown       2 payload is unknown while VALID is high
//            3 VALID fell before READY         4 payload changed before READY
//            5 VALID is high in reset          6 the burst is not INCR
//            7 a beat is wider than the bus    8 the burst crosses 4 KiB
//            9 nothing like this is owed      10 LAST is not at the last beat
//           11 the response does not exist    12 a strobe is outside of the beat's lanes
//           13 too many bursts are outstanding
//
// `outstanding` are the bursts whose request is or was offered and that are not answered in full.

// One channel's handshake. `rule` is what this cycle breaks, or 0; `offered` is high in the first
// cycle of an offer, `moved` in the cycle in which it is taken.
module axi_handshake #(
  parameter BITS = 1
) (
  input clk, input rst, input valid, input ready, input [BITS-1:0] payload,
  output [3:0] rule, output offered, output moved
);
  reg watching = 0, resetting = 0, waiting = 0;
  reg [BITS-1:0] held;
  always @(posedge clk) begin
    watching <= watching || rst === 1;
    resetting <= rst === 1;
    waiting <= rst !== 1 && valid === 1 && ready !== 1;
    held <= payload;
  end
  assign rule = !watching || !(rst ? resetting : 1'b1) ? 0 :
                rst ? (valid !== 0 ? 5 : 0) :
                ^{valid, ready} === 1'bx ? 1 :
                waiting && !valid ? 3 :
                valid && ^payload === 1'bx ? 2 :
                waiting && payload !== held ? 4 : 0;
  assign offered = watching && !rst && valid === 1 && !waiting;
  assign moved = watching && !rst && valid === 1 && ready === 1;
endmodule

// AR and R of an AXI4 port.
module axi_read_checker #(
  parameter BYTES = 8,
  parameter MOST = 64  // bursts outstanding, at most 256
) (
  input clk, input rst,
  input [31:0] araddr, input [7:0] arlen, input [2:0] arsize, input [1:0] arburst, input [2:0] arprot,
  input arvalid, input arready,
  input [8*BYTES-1:0] rdata, input [1:0] rresp, input rlast, input rvalid, input rready,
  output reg [31:0] violations, output reg [7:0] first, output [15:0] outstanding
);
  initial {violations, first} = 0;
  wire [3:0] ar_rule, r_rule;
  wire ar_offered, ar_moved, r_offered, r_moved;
  axi_handshake #(48) ar (clk, rst, arvalid, arready, {araddr, arlen, arsize, arburst, arprot},
                          ar_rule, ar_offered, ar_moved);
  axi_handshake #(8*BYTES+3) r (clk, rst, rvalid, rready, {rdata, rresp, rlast},
                                r_rule, r_offered, r_moved);

  reg [7:0] lengths [0:255];
  reg [8:0] open = 0, counted = 0;  // bursts accepted and not answered in full
  reg [7:0] newest = 0, oldest = 0, beat = 0;
  reg [3:0] a, d;
  assign outstanding = counted + (arvalid === 1);

  wire [12:0] start = {1'b0, araddr[11:0]} & ~((13'd1 << arsize) - 13'd1);
  wire [20:0] last = start + (({13'd0, arlen} + 21'd1) << arsize);
  always @(posedge clk) begin
    a = ar_rule;
    d = r_rule;
    if (r_offered && d == 0) begin
      if (open == 0) d = 9;
      else if (rlast != (beat == lengths[oldest])) d = 10;
      else if (rresp == 1) d = 11;
    end
    if (ar_offered && a == 0) begin
      if (arburst != 1) a = 6;
      else if ((1 << arsize) > BYTES) a = 7;
      else if (last > 4096) a = 8;
    end
    if (r_moved && open != 0) begin
      beat = beat + 1;
      if (beat == lengths[oldest] + 8'd1) begin
        beat = 0;
        oldest = oldest + 1;
        open = open - 1;
      end
    end
    if (ar_moved && a == 0 && open >= MOST) a = 13;
    if (ar_moved && open != 256) begin
      lengths[newest] = arlen;
      newest = newest + 1;
      open = open + 1;
    end
    if (rst) {open, newest, oldest, beat} = 0;
    counted <= open;
    if (first == 0) first <= a != 0 ? {4'd1, a} : d != 0 ? {4'd2, d} : 8'd0;
    violations <= violations + (a != 0) + (d != 0);
  end
endmodule

// AW, W and B of an AXI4 port. Data may come before their address; their beats are then kept, and
// checked when it is there.
module axi_write_checker #(
  parameter BYTES = 8,
  parameter MOST = 64  // bursts outstanding, at most 256
) (
  input clk, input rst,
  input [31:0] awaddr, input [7:0] awlen, input [2:0] awsize, input [1:0] awburst, input [2:0] awprot,
  input awvalid, input awready,
  input [8*BYTES-1:0] wdata, input [BYTES-1:0] wstrb, input wlast, input wvalid, input wready,
  input [1:0] bresp, input bvalid, input bready,
  output reg [31:0] violations, output reg [7:0] first, output [15:0] outstanding
);
  initial {violations, first} = 0;
  wire [3:0] aw_rule, w_rule, b_rule;
  wire aw_offered, aw_moved, w_offered, w_moved, b_offered, b_moved;
  axi_handshake #(48) aw (clk, rst, awvalid, awready, {awaddr, awlen, awsize, awburst, awprot},
                          aw_rule, aw_offered, aw_moved);
  axi_handshake #(9*BYTES+1) w (clk, rst, wvalid, wready, {wdata, wstrb, wlast},
                                w_rule, w_offered, w_moved);
  axi_handshake #(2) b (clk, rst, bvalid, bready, bresp, b_rule, b_offered, b_moved);

  // Requests, and beats that have none yet.
  reg [42:0] requests [0:255];  // address, size, length
  reg [BYTES:0] beats [0:4095];
  reg [7:0] newest = 0, oldest = 0, beat = 0;
  reg [11:0] newest_beat = 0, oldest_beat = 0;
  reg [8:0] requested = 0, owed = 0;  // bursts whose beats are not all there, and that are to answer
  reg [12:0] kept = 0;
  reg [3:0] a, d, s;
  reg [9:0] counted = 0;  // bursts accepted and not answered
  reg early = 0;  // data came before their address
  assign outstanding = counted
                     + (awvalid === 1 || early || wvalid === 1 && counted == 0);

  wire [12:0] start = {1'b0, awaddr[11:0]} & ~((13'd1 << awsize) - 13'd1);
  wire [20:0] last = start + (({13'd0, awlen} + 21'd1) << awsize);

  integer lane;
  reg [31:0] address, from, to;
  reg [7:0] length;
  reg [2:0] size;
  reg is_last;
  reg [BYTES-1:0] strobes;
  always @(posedge clk) begin
    a = aw_rule;
    d = w_rule;
    s = b_rule;
    if (b_offered && s == 0) begin
      if (owed == 0) s = 9;
      else if (bresp == 1) s = 11;
    end
    if (aw_offered && a == 0) begin
      if (awburst != 1) a = 6;
      else if ((1 << awsize) > BYTES) a = 7;
      else if (last > 4096) a = 8;
    end
    if (b_moved && owed != 0) owed = owed - 1;
    if (aw_moved && a == 0 && requested + owed >= MOST) a = 13;
    if (aw_moved && requested != 256) begin
      requests[newest] = {awaddr, awsize, awlen};
      newest = newest + 1;
      requested = requested + 1;
    end
    if (w_moved && kept != 4096) begin
      beats[newest_beat] = {wlast, wstrb};
      newest_beat = newest_beat + 1;
      kept = kept + 1;
    end
    while (kept != 0 && requested != 0) begin
      {address, size, length} = requests[oldest];
      {is_last, strobes} = beats[oldest_beat];
      // The lanes of beat n: of the first from its address on, of all up to the end of its size.
      from = ((address >> size) + beat) << size;
      to = from + (1 << size);
      if (beat == 0) from = address;
      to = to - from;
      from = from % BYTES;
      to = to + from;
      if (d == 0 && is_last != (beat == length)) d = 10;
      for (lane = 0; lane < BYTES; lane = lane + 1)
        if (d == 0 && strobes[lane] && (lane < from || lane >= to)) d = 12;
      oldest_beat = oldest_beat + 1;
      kept = kept - 1;
      beat = beat + 1;
      if (beat == length + 8'd1) begin
        beat = 0;
        oldest = oldest + 1;
        requested = requested - 1;
        owed = owed + 1;
      end
    end
    if (rst) {newest, oldest, beat, newest_beat, oldest_beat, requested, owed, kept} = 0;
    counted <= requested + owed;
    early <= kept != 0;
    if (first == 0)
      first <= a != 0 ? {4'd3, a} : d != 0 ? {4'd4, d} : s != 0 ? {4'd5, s} : 8'd0;
    violations <= violations + (a != 0) + (d != 0) + (s != 0);
  end
endmodule

// All channels of an AXI4-Lite port.
module axi_lite_checker #(
  parameter BITS = 12,
  parameter MOST = 64
) (
  input clk, input rst,
  input [BITS-1:0] awaddr, input [2:0] awprot, input awvalid, input awready,
  input [31:0] wdata, input [3:0] wstrb, input wvalid, input wready,
  input [1:0] bresp, input bvalid, input bready,
  input [BITS-1:0] araddr, input [2:0] arprot, input arvalid, input arready,
  input [31:0] rdata, input [1:0] rresp, input rvalid, input rready,
  output reg [31:0] violations, output reg [7:0] first, output [15:0] outstanding
);
  initial {violations, first} = 0;
  wire [3:0] ar_rule, r_rule, aw_rule, w_rule, b_rule;
  wire ar_offered, ar_moved, r_offered, r_moved;
  wire aw_offered, aw_moved, w_offered, w_moved, b_offered, b_moved;
  axi_handshake #(BITS+3) ar (clk, rst, arvalid, arready, {araddr, arprot},
                              ar_rule, ar_offered, ar_moved);
  axi_handshake #(34) r (clk, rst, rvalid, rready, {rdata, rresp}, r_rule, r_offered, r_moved);
  axi_handshake #(BITS+3) aw (clk, rst, awvalid, awready, {awaddr, awprot},
                              aw_rule, aw_offered, aw_moved);
  axi_handshake #(36) w (clk, rst, wvalid, wready, {wdata, wstrb}, w_rule, w_offered, w_moved);
  axi_handshake #(2) b (clk, rst, bvalid, bready, bresp, b_rule, b_offered, b_moved);

  reg [15:0] reads = 0, addresses = 0, data = 0, counted = 0;
  reg [3:0] broken [1:5];
  integer channel;
  assign outstanding = counted + (arvalid === 1) + (awvalid === 1 || wvalid === 1);
  always @(posedge clk) begin
    broken[1] = ar_rule;
    broken[2] = r_rule;
    broken[3] = aw_rule;
    broken[4] = w_rule;
    broken[5] = b_rule;
    if (r_offered && broken[2] == 0) broken[2] = reads == 0 ? 9 : rresp == 1 ? 11 : 0;
    if (b_offered && broken[5] == 0)
      broken[5] = addresses == 0 || data == 0 ? 9 : bresp == 1 ? 11 : 0;
    if (r_moved && reads != 0) reads = reads - 1;
    if (ar_moved && broken[1] == 0 && reads >= MOST) broken[1] = 13;
    if (ar_moved) reads = reads + 1;
    if (b_moved && addresses != 0 && data != 0) begin
      addresses = addresses - 1;
      data = data - 1;
    end
    if (aw_moved && broken[3] == 0 && addresses >= MOST) broken[3] = 13;
    if (aw_moved) addresses = addresses + 1;
    if (w_moved) data = data + 1;
    if (rst) {reads, addresses, data} = 0;
    counted <= reads + (addresses > data ? addresses : data);
    for (channel = 1; channel <= 5; channel = channel + 1)
      if (broken[channel] != 0) begin
        violations = violations + 1;
        if (first == 0) first = {channel[3:0], broken[channel]};
      end
  end
endmodule
