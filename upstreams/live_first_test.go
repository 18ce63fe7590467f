//go:build !race

package upstreams

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// While batch lines fill simulated GPUs live requests get their tokens nearly as
// quickly as without them. The bounds leave room for what goroutines do in another
// order. With TIDEGATE_GPUS="servers rate seconds" and -v other fleets are measured,
// "servers rate seconds bursts" in bursts.
func TestLiveFirst(t *testing.T) {
	if other := os.Getenv("TIDEGATE_GPUS"); other != "" {
		for fleet := range strings.SplitSeq(other, ",") {
			l := liveFirst{settle: 40 * time.Second, bursts: strings.HasSuffix(fleet, "bursts")}
			seconds := 0
			if _, err := fmt.Sscan(fleet, &l.servers, &l.rate, &seconds); err != nil {
				t.Fatalf("TIDEGATE_GPUS: %q: %v", fleet, err)
			}
			l.length = time.Duration(seconds) * time.Second
			l.compare(t)
		}
		return
	}
	for _, tt := range []struct {
		name  string
		of    liveFirst
		bound liveFirstRatio
	}{
		{"few live requests", liveFirst{servers: 4, rate: 1, settle: 40 * time.Second, length: 2 * time.Minute}, liveFirstRatio{1.8, 3, 1.8, 45 * time.Millisecond, 0.75}},
		{"more live requests", liveFirst{servers: 4, rate: 3, settle: 40 * time.Second, length: time.Minute}, liveFirstRatio{1.5, 3, 1.8, 30 * time.Millisecond, 0.55}},
		{"bursts", liveFirst{servers: 4, rate: 1, bursts: true, settle: 40 * time.Second, length: 2 * time.Minute}, liveFirstRatio{1.8, 3.5, 1.8, 45 * time.Millisecond, 0.6}},
		{"one server", liveFirst{servers: 1, rate: 1, settle: 40 * time.Second, length: 2 * time.Minute}, liveFirstRatio{2.2, 2.6, 1.8, 45 * time.Millisecond, 0.45}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// In about one of 70 runs the limit of a server for live requests stays at three
			// times the usual one, where tokens take 2.5 times as long.
			var got liveFirstRatio
			for range 2 {
				if got = tt.of.compare(t); got.within(tt.bound) {
					return
				}
			}
			t.Errorf("live requests got %v in the second run, too; want no more than %v", got, tt.bound)
		})
	}
}

// within reports whether live requests are slowed down by no more than the bound, and lines
// get at least its share.
func (r liveFirstRatio) within(b liveFirstRatio) bool {
	return r.ttft50 <= b.ttft50 && r.ttft99 <= b.ttft99 && r.itl50 <= b.itl50 && r.itl99 <= b.itl99 && r.share >= b.share
}

// compare measures live requests without lines, beside a flood and beside lines.
func (l liveFirst) compare(t *testing.T) liveFirstRatio {
	t.Helper()
	off, flood, on := l, l, l
	flood.flood, on.lines = 256, true
	without, beside, with := off.run(t), flood.run(t), on.run(t)
	for _, line := range with.history {
		t.Log(line)
	}
	t.Logf("%d servers, %g live requests a second and server\nwithout lines: %v\nbeside a flood: %v\n  %v\nbeside lines: %v\n  %v",
		l.servers, l.rate, without, beside, beside.over(without, beside), with, with.over(without, beside))
	return with.over(without, beside)
}
