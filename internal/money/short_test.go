package money

import (
	"strings"
	"testing"
)

// TestShort finds amounts that are cut instead of rounded, and carries that are lost.
func TestShort(t *testing.T) {
	for amount, want := range map[string]string{
		"0": "0.00", "12": "12.00", "1234.5": "1234.50", "0.5": "0.50", "0.056789": "0.057", "0.0001599": "0.00016", "0.00015": "0.00015", "0.000155": "0.00016", "0.0001549": "0.00015",
		"0.0999": "0.10", "0.00999": "0.010", "0.0995": "0.10", "0.994": "0.99", "0.995": "1.00", "0.09": "0.09", "9.999": "10.00", "99.995": "100.00", "1.005": "1.01", "1.0049": "1.00", "-0.0999": "-0.10", "-1.005": "-1.01", "0.999999999": "1.00", "0.000000009": "0.000000009",
		"0.000012345": "0.000012", "0.000000001": "0.000000001", "1.001": "1.00", "-0.25": "-0.25",
	} {
		negative := strings.HasPrefix(amount, "-")
		m, err := Parse(strings.TrimPrefix(amount, "-"))
		if err != nil {
			t.Fatal(err)
		}
		if negative {
			m = -m
		}
		if got := m.Short(); got != want {
			t.Errorf("%s is shown as %s, want %s", amount, got, want)
		}
	}
}
