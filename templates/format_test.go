package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1000), "1,000"},
		{Count(1234567), "1,234,567"},
		{Count(-1000), "−1,000"},
		{Short(9999), "9,999"},
		{Short(10_000), "10.0 k"},
		{Short(999_499), "999 k"},
		{Short(999_500), "1.00 M"},
		{Short(1_234_567_890), "1.23 G"},
		{Short(9e15), "9,000 T"},
		{PerSecond(0), "0"},
		{PerSecond(.001), "<0.01"},
		{PerSecond(.42), "0.42"},
		{PerSecond(12.34), "12.3"},
		{PerSecond(9.996), "10.0"},
		{PerSecond(1234.4), "1,234"},
		{PerSecond(12_345), "12.3 k"},
		{Percent(0), "0 %"},
		{Percent(.0001), "<0.1 %"},
		{Percent(.0123), "1.2 %"},
		{Percent(.5), "50 %"},
		{Percent(.9999), "99.9 %"},
		{Percent(1), "100 %"},
		{Percent(.0999), "10 %"},
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(1024), "1.00 KiB"},
		{Bytes(5 << 30), "5.00 GiB"},
		{Bytes(1000 << 20), "0.98 GiB"},
		{Span(0), "0 s"},
		{Span(59 * time.Second), "59 s"},
		{Span(60 * time.Second), "1 min"},
		{Span(61 * time.Second), "1 min 01 s"},
		{Span(11 * time.Minute), "11 min"},
		{Span(64 * time.Minute), "1 h 04 min"},
		{Span(49 * time.Hour), "2 d 1 h"},
		{Span(-time.Hour), "0 s"},
		{Coarse(30 * time.Second), "<1 min"},
		{Coarse(90 * time.Minute), "1 h"},
		{Coarse(72 * time.Hour), "3 d"},
		{Coarse(-time.Hour), "<1 min"},
		{roughly(84 * time.Minute), "1 h 20 min"},
		{roughly(2*time.Hour + 4*time.Minute), "2 h"},
		{roughly(59 * time.Minute), "59 min"},
		{roughly(14 * time.Hour), "14 h"},
		{Brief(0), "–"},
		{Brief(1500 * time.Microsecond), "1.5 ms"},
		{Brief(340 * time.Millisecond), "340 ms"},
		{Brief(1240 * time.Millisecond), "1.24 s"},
		{Brief(3 * time.Minute), "3 min"},
		{Signed(5), "+5"},
		{Signed(-5), "−5"},
		{Signed(0), "0"},
		{Words("in_progress"), "in progress"},
		{plain("40.0 k"), "40 k"},
		{plain("2.50"), "2.5"},
		{plain("100"), "100"},
		{plain("1.00 s"), "1 s"},
		{plain("30 %"), "30 %"},
		{Estimate{Known: true, Low: 43 * time.Minute, High: 64 * time.Minute}.Text(), "43 min – 1 h"},
		{Estimate{Known: true, Low: time.Hour, High: time.Hour}.Text(), "~1 h"},
		{Estimate{Known: true}.Text(), "<1 min"},
		{Estimate{}.Text(), "not known"},
		{Latency{N: 1, P50: 111 * time.Millisecond, P95: 134 * time.Millisecond}.Text(), "111 / 134 ms"},
		{Latency{N: 1, P50: 111 * time.Millisecond, P95: 1340 * time.Millisecond}.Text(), "111 ms / 1.34 s"},
		{Latency{N: 1, P95: time.Second}.Text(), "– / 1.00 s"},
		{Latency{N: 1, P50: 62 * time.Minute, P95: 122 * time.Minute}.Text(), "1 h 02 min / 2 h 02 min"},
		{Latency{}.Text(), "–"},
		{Line{Status: 400}.took(), "<1 ms"},
		{Line{Status: 200, Duration: time.Millisecond}.took(), "1.0 ms"},
		{Line{}.took(), "–"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestWhen(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s := Site{Zone: berlin, Now: time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)}
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "–"},
		{s.Now.Add(-time.Hour), "00:30"}, // today there, yesterday in UTC
		{s.Now.Add(-2 * time.Hour), "Dec 31, 2025 23:30"},
		{s.Now.Add(25 * time.Hour), "Jan 2 02:30"},
	} {
		if got := s.When(tt.at); got != tt.want {
			t.Errorf("%s is %q, want %q", tt.at, got, tt.want)
		}
		if got, want := s.WhenExactly(tt.at), tt.want+":00"; !tt.at.IsZero() && got != want {
			t.Errorf("%s is exactly %q, want %q", tt.at, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	s := Site{Base: "/dashboard"}
	for _, tt := range []struct{ got, want string }{
		{string(s.To()), "/dashboard/"},
		{string(s.To("")), "/dashboard/"},
		{string(s.To("a b", "../c?d#e%")), "/dashboard/a%20b/..%2Fc%3Fd%23e%25"},
		{string(s.With(s.To("a"))), "/dashboard/a"},
		{string(s.With(s.To("a"), "b", "", "c", "d&e=f")), "/dashboard/a?c=d%26e%3Df"},
		{string(Site{}.To("a")), "/a"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

// TestVendored holds what is vendored against its checksums.
func TestVendored(t *testing.T) {
	sums, err := os.ReadFile("assets/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		a, ok := Assets[name]
		sum := sha256.Sum256(a.Content)
		if got := hex.EncodeToString(sum[:]); !ok || got != want {
			t.Errorf("%s has the checksum %s, want %s", name, got, want)
		}
		if _, ok := Assets[strings.TrimSuffix(strings.TrimSuffix(name, ".js"), ".min")+".LICENSE"]; !ok {
			t.Errorf("%s has no licence", name)
		}
		held++
	}
	if held != 3 {
		t.Errorf("%d files are vendored, want 3", held)
	}
	for name, a := range Assets {
		if a.Type == "" || len(a.Content) == 0 {
			t.Errorf("%s has no type or no content", name)
		}
	}
}
