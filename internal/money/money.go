// Package money has amounts of money as integers.
package money

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/saturate"
)

// Amount is an amount in billionths of the unit of a currency. Amounts are integers, so that
// sums are exact.
type Amount int64

// digits is the number of decimals of an amount.
const digits = 9

// Unit is one unit of the currency.
const Unit Amount = 1_000_000_000

// String returns the amount as a decimal number, without trailing zeros.
func (m Amount) String() string { return Decimal(int64(m), digits) }

// Short returns the amount with two decimals, or with the first two digits that are not zero
// of an amount below 0.1, rounded half up.
func (m Amount) Short() string {
	magnitude := max(m, -m)
	step := Unit / 100 // of the last decimal
	for step > 1 && magnitude > 0 && magnitude < 10*step {
		step /= 10
	}
	for step < Unit/100 && magnitude%(10*step) == 0 { // no digit is left
		step *= 10
	}
	rounded := magnitude / step
	if magnitude%step >= (step+1)/2 && step > 1 {
		rounded++
	}
	if rounded == 100 && step < Unit/100 { // 0.0999 is 0.10
		rounded, step = 10, 10*step
	}
	decimals := len(strconv.FormatInt(int64(Unit/step), 10)) - 1
	text := fmt.Sprintf("%d.%0*d", rounded/(Unit/step), decimals, rounded%(Unit/step))
	if m < 0 {
		return "-" + text
	}
	return text
}

// Plus returns the sum of two amounts. It saturates.
func (m Amount) Plus(n Amount) Amount { return Amount(saturate.Add(int64(m), int64(n))) }

// MarshalJSON writes the amount as a number with all of its decimals.
func (m Amount) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads what MarshalJSON writes: a decimal number without an exponent.
func (m *Amount) UnmarshalJSON(text []byte) (err error) {
	if string(text) == "null" {
		return nil
	}
	if *m, err = Parse(string(text)); err != nil {
		return fmt.Errorf("%.40s is not an amount: %w", text, err)
	}
	return nil
}

// Parse parses a decimal number such as 12.50.
func Parse(text string) (Amount, error) {
	n, err := ParseDecimal(text, digits)
	return Amount(n), err
}

var errDecimal = errors.New("not a decimal number")

// ParseDecimal parses a decimal number that is not negative, in units of its last possible
// digit.
func ParseDecimal(text string, digits int) (int64, error) {
	whole, part, point := strings.Cut(text, ".")
	if whole == "" || point && part == "" || strings.ContainsFunc(whole+part, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, errDecimal
	}
	if len(part) > digits {
		return 0, fmt.Errorf("%w with at most %d decimals", errDecimal, digits)
	}
	return strconv.ParseInt(whole+part+strings.Repeat("0", digits-len(part)), 10, 64)
}

// Decimal formats a number of units of the last of its digits after the point.
func Decimal(n int64, digits int) string {
	sign, magnitude := "", uint64(n)
	if n < 0 {
		sign, magnitude = "-", -magnitude
	}
	text := strconv.FormatUint(magnitude, 10)
	if missing := digits + 1 - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	whole, part := text[:len(text)-digits], strings.TrimRight(text[len(text)-digits:], "0")
	if part == "" {
		return sign + whole
	}
	return sign + whole + "." + part
}
