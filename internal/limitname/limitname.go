// Package limitname has the names of the limits of keys and tenants, for the gateway and for
// its client commands.
package limitname

// Name describes a limit.
type Name struct {
	Word  string // in the configuration and the API
	Flag  string // of the commands
	About string // what it limits, for the help of the commands
	Money bool   // the value is an amount of money
}

// All lists all limits, in the order of the documentation.
var All = [...]Name{
	{Word: "requests_per_minute", Flag: "rpm", About: "requests and lines of batches per minute"},
	{Word: "tokens_per_minute", Flag: "tpm", About: "tokens per minute"},
	{Word: "requests_in_flight", Flag: "in-flight", About: "requests and lines of batches in flight"},
	{Word: "lines_queued", Flag: "lines-queued", About: "waiting lines of batches"},
	{Word: "tokens_queued", Flag: "tokens-queued", About: "estimated tokens of waiting lines"},
	{Word: "batches_per_hour", Flag: "batches-per-hour", About: "new batches per hour"},
	{Word: "tokens_per_month", Flag: "tokens-per-month", About: "tokens per calendar month in UTC"},
	{Word: "cost_per_month", Flag: "cost-per-month", About: "cost per calendar month in UTC, such as 12.50", Money: true},
}
