package batch

import (
	"strconv"

	"github.com/tidegate/tidegate/internal/money"
)

// Money is an amount in billionths of the unit of a currency.
type Money = money.Amount

// Rate is the price of a million tokens, in millionths of the unit of a currency.
type Rate int64

// rateDigits is the number of decimals of a rate.
const rateDigits = 6

// MaxRate is the largest rate: a million for a million tokens.
const MaxRate Rate = 1_000_000_000_000

// String returns the rate as a decimal number.
func (r Rate) String() string { return money.Decimal(int64(r), rateDigits) }

// ParseRate parses a decimal number such as 0.075.
func ParseRate(text string) (Rate, error) {
	n, err := money.ParseDecimal(text, rateDigits)
	if err == nil && n > int64(MaxRate) {
		err = strconv.ErrRange
	}
	return Rate(n), err
}
