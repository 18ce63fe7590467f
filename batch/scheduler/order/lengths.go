package order

// longLine is how many times as many tokens as the mean a long line must be expected to
// generate.
const longLine = 2

// Lengths is the mean of the tokens that lines are expected to generate.
type Lengths struct {
	sum   int // of the lines whose tokens are known
	known int // number of these lines
}

// Add adds a line that is expected to generate a number of tokens, 0 if not known.
func (l *Lengths) Add(tokens int) {
	if tokens > 0 {
		l.sum += tokens
		l.known++
	}
}

// Long reports whether a line is expected to generate so many more tokens than the mean
// that it should start first. Otherwise, a batch might end with this line running alone.
func (l *Lengths) Long(tokens int) bool { return tokens > 0 && tokens*l.known >= longLine*l.sum }
