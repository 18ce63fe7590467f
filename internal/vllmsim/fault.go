package vllmsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Fault is a way to go wrong, written as inside a marker: a kind, for some
// kinds "=" and an argument, and options after commas. "status-503" is short
// for "status=503".
type Fault string

// Faults without an argument, or with a usual one. The package comment says
// what each does; those with an argument may be written with another, as in
// Fault("slow=2s") or Fault("status-503,retry-after=1").
const (
	FaultStatus400 Fault = "status-400"
	FaultStatus429 Fault = "status-429"
	FaultStatus500 Fault = "status-500"
	FaultStatus503 Fault = "status-503"
	FaultHang      Fault = "hang"
	FaultHangMid   Fault = "hang-mid"
	FaultCut       Fault = "cut"
	FaultCutMid    Fault = "cut-mid"
	FaultExit      Fault = "exit"
	FaultHTML      Fault = "html"
	FaultTruncated Fault = "truncated"
	FaultShort     Fault = "short"
	FaultRedirect  Fault = "redirect"
	FaultDie       Fault = "die"
	FaultFreeze    Fault = "freeze"
	FaultPretty    Fault = "pretty"
	FaultHuge      Fault = "huge"
	FaultNoUsage   Fault = "no-usage"
	FaultSlow      Fault = "slow"
	FaultGap       Fault = "gap"
)

// ParseFault reads what the flag --fault takes: KIND=RATE with a rate from 0
// to 1, as in "status-500=0.01", "status-429,retry-after=1=0.05" or
// "slow=2s=0.1". The rate stands behind the last "=".
func ParseFault(spec string) (Fault, float64, error) {
	at := strings.LastIndexByte(spec, '=')
	if at < 0 {
		return "", 0, fmt.Errorf("parsing fault %q: want KIND=RATE", spec)
	}
	rate, err := strconv.ParseFloat(spec[at+1:], 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return "", 0, fmt.Errorf("parsing fault %q: rate %q is no number from 0 to 1", spec, spec[at+1:])
	}
	if _, err := parseRated(Fault(spec[:at])); err != nil {
		return "", 0, fmt.Errorf("parsing fault %q: %w", spec, err)
	}
	return Fault(spec[:at]), rate, nil
}

// parseRated is parseDirective for faults that can occur at a rate.
func parseRated(f Fault) (directive, error) {
	d, err := parseDirective(string(f))
	switch {
	case err != nil:
		return d, err
	case d.kind == kindTokens:
		return d, fmt.Errorf("%s is no fault", d.kind)
	case d.times > 0:
		return d, fmt.Errorf("times= has no meaning at a rate")
	}
	return d, nil
}

// ratedFault strikes when a draw from [0,1) falls below upTo and not below the
// one before it.
type ratedFault struct {
	upTo float64
	directive
}

// rateFaults orders faults so that the same draw gives the same fault.
func rateFaults(rates map[Fault]float64) ([]ratedFault, error) {
	names := make([]Fault, 0, len(rates))
	for f := range rates {
		names = append(names, f)
	}
	slices.Sort(names)
	rated := make([]ratedFault, 0, len(names))
	sum := 0.0
	for _, f := range names {
		d, err := parseRated(f)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", f, err)
		}
		sum += rates[f]
		rated = append(rated, ratedFault{upTo: sum, directive: d})
	}
	return rated, nil
}

// draw picks the fault of the nth reception of a request, if any.
func draw(rated []ratedFault, seed uint64, d *digest, nth int64) (directive, bool) {
	if len(rated) == 0 {
		return directive{}, false
	}
	var rng rand.PCG
	rng.Seed(seed^d.word(0), d.word(1)+uint64(nth))
	u := float64(rng.Uint64()>>11) / (1 << 53)
	for i := range rated {
		if u < rated[i].upTo {
			return rated[i].directive, true
		}
	}
	return directive{}, false
}
