package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// progress shows progress: a bar that is redrawn on a terminal, occasional lines elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	width    func() int // of the terminal, in columns
	now      func() time.Time

	began, drawn time.Time
	last         state // as shown last
	first        int64 // done when the label was new
	shown        bool
}

const (
	redraw    = 100 * time.Millisecond // at most so often on a terminal
	plainLine = 5 * time.Second        // at most so often elsewhere
	usualWide = 80
)

func newProgress(w io.Writer) *progress {
	if t, ok := w.(terminal); ok { // the bar writes control sequences, and cleans its label
		w = t.w
	}
	p := &progress{w: w, now: time.Now, width: func() int { return usualWide }}
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" {
		p.terminal = true
		p.width = func() int {
			columns, _, err := term.GetSize(int(f.Fd()))
			if err != nil || columns <= 0 {
				return usualWide
			}
			return columns
		}
	}
	return p
}

// state is the state that a progress shows.
type state struct {
	label               string // current activity; a new label is always shown
	done, failed, total int64  // total 0: unknown
	unit                string // "lines", or "B" for bytes
}

func (s state) complete() bool { return s.total > 0 && s.done >= s.total }

// show draws s, unless the last drawing was too recent.
func (p *progress) show(s state) {
	now := p.now()
	fresh := !p.shown || s.label != p.last.label
	if fresh || s.done < p.last.done { // or it restarted
		p.began, p.first = now, s.done
	}
	pause := plainLine
	if p.terminal {
		pause = redraw
	}
	if !fresh && now.Sub(p.drawn) < pause && (p.last.complete() || !s.complete()) {
		return
	}
	if !fresh && !p.terminal && s == p.last {
		return // not repeated in a log
	}
	p.shown, p.drawn, p.last = true, now, s
	figures := s.figures(now.Sub(p.began), s.done-p.first)
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", s.bar(figures, p.width()))
		return
	}
	fmt.Fprintln(p.w, clean(s.label)+figures)
}

// leastBar is the narrowest bar that is drawn, in columns without its frame.
const leastBar = 10

// bar fits into one line of a terminal. Where it is narrow the label is cut
// first, then the bar is left out, then the figures are cut.
func (s state) bar(figures string, width int) string {
	const frame = 3 // "[", "] "
	const leastLabel = 12
	width-- // for the cursor after the text
	label, barred := []rune(clean(s.label)), s.total > 0
	room := width - len([]rune(figures))
	if barred && room-leastBar-frame < min(leastLabel, len(label)) {
		barred = false
	}
	most := room
	if barred {
		most -= leastBar + frame
	}
	label = shorten(label, most)
	text := string(label) + figures
	if r := []rune(text); len(r) > width {
		return string(r[:max(0, width)])
	}
	if !barred {
		return text
	}
	columns := room - len(label) - frame
	full := int(float64(columns) * float64(min(s.done, s.total)) / float64(s.total))
	return "[" + strings.Repeat("█", full) + strings.Repeat("·", columns-full) + "] " + text
}

// shorten cuts a label to most characters. It cuts the longest word, an id or a
// file name, so that the others stay readable.
func shorten(label []rune, most int) []rune {
	if len(label) <= most || most < 1 {
		return label
	}
	begin, end := 0, 0 // of the longest word
	for at := 0; at < len(label); at++ {
		from := at
		for at < len(label) && label[at] != ' ' {
			at++
		}
		if at-from > end-begin {
			begin, end = from, at
		}
	}
	const leastWord = 8
	cut := len(label) - most + 1
	if end-begin-cut < leastWord {
		return append(label[:most-1:most-1], '…')
	}
	return slices.Concat(label[:end-cut], []rune{'…'}, label[end:])
}

// end leaves the last drawing on its line.
func (p *progress) end() {
	if p.terminal && p.shown {
		fmt.Fprintln(p.w)
	}
	p.shown = false
}

// longest is the largest remaining time that is shown; longer ones are unreliable.
const longest = 100 * time.Hour

// figures formats the numbers of s, elapsed after its beginning, with since done in that
// time.
func (s state) figures(elapsed time.Duration, since int64) string {
	var out string
	switch {
	case s.total > 0:
		out = fmt.Sprintf(" %d%% %s/%s", 100*min(s.done, s.total)/s.total, s.count(s.done), s.count(s.total))
	case s.done > 0:
		out = " " + s.count(s.done)
	default:
		return ""
	}
	if s.failed > 0 {
		out += fmt.Sprintf(", %d failed", s.failed)
	}
	if seconds := elapsed.Seconds(); since > 0 && seconds >= 0.5 {
		rate := float64(since) / seconds
		out += ", " + s.rate(rate)
		if left := float64(s.total-s.done) / rate; left > 0 && left < longest.Seconds() {
			out += ", " + time.Duration(left*float64(time.Second)).Round(time.Second).String() + " left"
		}
	}
	return out
}

func (s state) count(n int64) string {
	if s.unit == "B" {
		return size(n)
	}
	return fmt.Sprint(n)
}

func (s state) rate(perSecond float64) string {
	if s.unit != "B" && perSecond < 10 {
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return s.count(int64(perSecond)) + "/s"
}
