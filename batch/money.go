package batch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/saturate"
)

// Money is an amount in billionths of the unit of a currency. Amounts are integers, so that
// sums are exact.
type Money int64

// moneyDigits is the number of decimals of an amount.
const moneyDigits = 9

// String returns the amount as a decimal number, without trailing zeros.
func (m Money) String() string { return decimal(int64(m), moneyDigits) }

// Plus returns the sum of two amounts. It saturates.
func (m Money) Plus(n Money) Money { return Money(saturate.Add(int64(m), int64(n))) }

// MarshalJSON writes the amount as a number with all of its decimals.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// Rate is the price of a million tokens, in millionths of the unit of a currency.
type Rate int64

// rateDigits is the number of decimals of a rate.
const rateDigits = 6

// MaxRate is the largest rate: a million for a million tokens.
const MaxRate Rate = 1_000_000_000_000

// String returns the rate as a decimal number.
func (r Rate) String() string { return decimal(int64(r), rateDigits) }

// ParseRate parses a decimal number such as 0.075.
func ParseRate(text string) (Rate, error) {
	n, err := parseDecimal(text, rateDigits)
	if err == nil && n > int64(MaxRate) {
		err = strconv.ErrRange
	}
	return Rate(n), err
}

// ParseMoney parses a decimal number such as 12.50.
func ParseMoney(text string) (Money, error) {
	n, err := parseDecimal(text, moneyDigits)
	return Money(n), err
}

var errDecimal = errors.New("not a decimal number")

// parseDecimal parses a decimal number that is not negative, in units of its last possible
// digit.
func parseDecimal(text string, digits int) (int64, error) {
	whole, part, point := strings.Cut(text, ".")
	if whole == "" || point && part == "" || strings.ContainsFunc(whole+part, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, errDecimal
	}
	if len(part) > digits {
		return 0, fmt.Errorf("%w with at most %d decimals", errDecimal, digits)
	}
	return strconv.ParseInt(whole+part+strings.Repeat("0", digits-len(part)), 10, 64)
}

// decimal formats a number of units of the last of its digits after the point.
func decimal(n int64, digits int) string {
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
