package order

// longLine is the expected number of tokens, as a multiple of the mean, from which on a line
// is long.
const longLine = 2

// Lengths is the mean of the tokens that lines may generate.
type Lengths struct {
	sum   int // of the lines whose limit is known
	known int // number of these lines
}

// Add adds a line that may generate a number of tokens, 0 if not known.
func (l *Lengths) Add(limit int) {
	if limit > 0 {
		l.sum += limit
		l.known++
	}
}

// Long reports whether a line may generate so many more tokens than the mean that it
// should start first. Otherwise, a batch might end with this line running alone.
func (l *Lengths) Long(limit int) bool {
	return limit > 0 && isLong(float64(limit), l.mean())
}

// mean returns the mean, 0 if no limit is known.
func (l *Lengths) mean() float64 { return float64(l.sum) / float64(max(1, l.known)) }

// isLong reports whether a number of tokens is that of a long line at a mean.
func isLong(tokens, mean float64) bool { return tokens >= longLine*mean }
