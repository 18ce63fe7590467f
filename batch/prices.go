package batch

import (
	"math"
	"math/bits"

	"github.com/tidegate/tidegate/internal/openai"
)

// The classes of usage.
const (
	ClassLive  = "live"
	ClassBatch = "batch"
)

// Prices are the prices of tokens. The zero value has none.
type Prices struct {
	// Currency is the name of the currency, such as "EUR"; "" if there are no prices.
	Currency string
	// BatchDiscount is subtracted from the prices for batch lines, in thousandths.
	BatchDiscount int
	// Models are the prices by model. AnyModel is the price of all others.
	Models map[string]ModelPrice
}

// AnyModel names all models without a price of their own.
const AnyModel = "*"

// ModelPrice is the price of the tokens of a model.
type ModelPrice struct {
	Input       Rate // of input tokens that were not in a prefix cache
	CachedInput Rate // of those that were
	Output      Rate
}

// Charge is the cost of one request.
type Charge struct {
	Cost Money
	// Unpriced reports that the request used tokens of a model without a price.
	Unpriced bool
}

// Charge returns the cost of a request, rounded to a unit of Money. p may be nil.
func (p *Prices) Charge(class, model string, u openai.Usage) Charge {
	if u.InputTokens <= 0 && u.OutputTokens <= 0 {
		return Charge{}
	}
	price, known := p.of(model)
	if !known {
		return Charge{Unpriced: true}
	}
	input := max(u.InputTokens, 0)
	cached := min(max(u.InputTokensDetails.CachedTokens, 0), input)
	var sum wide
	sum.add(input-cached, price.Input)
	sum.add(cached, price.CachedInput)
	sum.add(max(u.OutputTokens, 0), price.Output)
	part := uint64(thousandths)
	if class == ClassBatch {
		part -= uint64(p.BatchDiscount)
	}
	return Charge{Cost: sum.part(part)}
}

func (p *Prices) of(model string) (ModelPrice, bool) {
	if p == nil {
		return ModelPrice{}, false
	}
	if price, known := p.Models[model]; known {
		return price, true
	}
	price, known := p.Models[AnyModel]
	return price, known
}

const (
	thousandths = 1000
	// perMoney is the number of the units of wide in a unit of Money: a rate for a million
	// tokens has six decimals, so that a token costs whole trillionths.
	perMoney = 1000
)

// wide is an amount in trillionths, of 128 bits. Three products of a count of tokens and a
// rate, and a thousand times that, do not overflow it.
type wide struct{ hi, lo uint64 }

// add adds the price of tokens.
func (w *wide) add(tokens int64, r Rate) {
	hi, lo := bits.Mul64(uint64(tokens), uint64(r))
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, lo, 0)
	w.hi, _ = bits.Add64(w.hi, hi, carry)
}

// part returns a part of the amount, in thousandths, rounded half up. It saturates at the
// largest Money.
func (w wide) part(part uint64) Money {
	hi, lo := bits.Mul64(w.lo, part)
	hi += w.hi * part
	const divisor = thousandths * perMoney
	lo, carry := bits.Add64(lo, divisor/2, 0)
	hi += carry
	if hi >= divisor {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(hi, lo, divisor)
	return Money(min(quotient, math.MaxInt64))
}
