package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/batch"
)

// CostConfig configures the prices of tokens. They apply to requests that end from now on.
type CostConfig struct {
	// Currency is the name of the currency of all prices, such as EUR.
	Currency string `json:"currency,omitempty"`
	// BatchDiscount is subtracted from the prices for batch lines: 0 to 1, with at most
	// three decimals. Default 0.
	BatchDiscount json.Number `json:"batch_discount,omitempty"`
	// Models are the prices of models. Default: none, costs are not counted.
	Models []ModelCostConfig `json:"models,omitempty"`
}

// ModelCostConfig is the price of a million tokens of a model, with at most six decimals.
type ModelCostConfig struct {
	// Model is the name of the model, or * for all without a price of their own.
	Model string `json:"model"`
	// Input is the price of input tokens.
	Input json.Number `json:"input"`
	// CachedInput is the price of input tokens that were in a prefix cache. Default: that
	// of input tokens.
	CachedInput json.Number `json:"cached_input,omitempty"`
	// Output is the price of output tokens. Default 0, for models without an output.
	Output json.Number `json:"output,omitempty"`
}

// maxPriced limits the models with prices.
const maxPriced = 1000

var currencyName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,15}$`)

var errCurrency = errors.New("currency must be a name such as EUR, of 1 to 16 letters, digits, hyphens or underscores")

// prices returns the prices, nil if there are none.
func (c *CostConfig) prices() (*batch.Prices, error) {
	if c.Currency != "" && !currencyName.MatchString(c.Currency) {
		return nil, errCurrency
	}
	discount, err := parseDiscount(c.BatchDiscount)
	if err != nil {
		return nil, err
	}
	switch {
	case len(c.Models) == 0:
		return nil, nil
	case c.Currency == "":
		return nil, errors.New("prices need a currency, such as currency EUR")
	case len(c.Models) > maxPriced:
		return nil, fmt.Errorf("at most %d models can have prices, not %d", maxPriced, len(c.Models))
	}
	p := &batch.Prices{Currency: c.Currency, BatchDiscount: discount, Models: make(map[string]batch.ModelPrice, len(c.Models))}
	for i := range c.Models {
		m := &c.Models[i]
		if _, twice := p.Models[m.Model]; twice {
			return nil, fmt.Errorf("model %q already specified", m.Model)
		}
		if p.Models[m.Model], err = m.price(); err != nil {
			return nil, fmt.Errorf("model %q: %w", m.Model, err)
		}
	}
	return p, nil
}

// price returns the price of the model.
func (m *ModelCostConfig) price() (p batch.ModelPrice, err error) {
	if m.Model == "" {
		return p, errors.New("the name of a model is empty")
	}
	if m.Input == "" {
		return p, errors.New("the price of input is missing")
	}
	for _, part := range []struct {
		name, word string
		to         *batch.Rate
	}{
		{"input", m.Input.String(), &p.Input},
		{"cached_input", m.CachedInput.String(), &p.CachedInput},
		{"output", m.Output.String(), &p.Output},
	} {
		if part.word == "" {
			continue
		}
		if *part.to, err = batch.ParseRate(part.word); err != nil {
			return p, fmt.Errorf("%s must be a price for a million tokens: a decimal number up to %s with at most six decimals, not %q", part.name, batch.MaxRate, part.word)
		}
	}
	if m.CachedInput == "" {
		p.CachedInput = p.Input
	}
	return p, nil
}

// parseDiscount returns a part of 1 in thousandths.
func parseDiscount(n json.Number) (int, error) {
	if n == "" {
		return 0, nil
	}
	rate, err := batch.ParseRate(n.String())
	const thousandth = 1000 // of the millionths of a rate
	if err != nil || rate > 1000*thousandth || rate%thousandth != 0 {
		return 0, fmt.Errorf("batch_discount must be a part from 0 to 1 with at most three decimals, not %q", n)
	}
	return int(rate / thousandth), nil
}

// unmarshal parses the block. See App.UnmarshalCaddyfile.
func (c *CostConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := block(d, c.options(), "model"); err != nil {
		return err
	}
	if _, err := c.prices(); err != nil {
		return d.Errf("cost: %v", err)
	}
	return nil
}

func (c *CostConfig) options() map[string]option {
	return map[string]option{
		"currency": parsed(&c.Currency, "a name such as EUR", func(s string) (string, error) {
			if !currencyName.MatchString(s) {
				return "", errCurrency
			}
			return s, nil
		}),
		"batch_discount": parsed(&c.BatchDiscount, "a part from 0 to 1 with at most three decimals", func(s string) (json.Number, error) {
			if s == "" {
				return "", strconv.ErrSyntax
			}
			n := numeral(s)
			_, err := parseDiscount(n)
			return n, err
		}),
		"model": c.readModel,
	}
}

// readModel parses a model and its prices.
func (c *CostConfig) readModel(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 || len(args)%2 == 0 {
		return d.ArgErr()
	}
	m := ModelCostConfig{Model: args[0]}
	prices := map[string]*json.Number{"input": &m.Input, "cached_input": &m.CachedInput, "output": &m.Output}
	for i := 1; i < len(args); i += 2 {
		to := prices[args[i]]
		switch {
		case to == nil:
			return d.Errf("model %s: %q must be input, cached_input or output", m.Model, args[i])
		case *to != "":
			return d.Errf("model %s: %s already specified", m.Model, args[i])
		}
		*to = numeral(args[i+1])
	}
	if _, err := m.price(); err != nil {
		return d.Errf("model %s: %v", m.Model, err)
	}
	for i := range c.Models {
		if c.Models[i].Model == m.Model {
			return d.Errf("model %s already specified", m.Model)
		}
	}
	c.Models = append(c.Models, m)
	return nil
}

// numeral returns a decimal number as JSON has it, without leading zeros. Other texts are
// returned unchanged.
func numeral(text string) json.Number {
	short := strings.TrimLeft(text, "0")
	if short == "" && text != "" || strings.HasPrefix(short, ".") {
		short = "0" + short
	}
	return json.Number(short)
}
