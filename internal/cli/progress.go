package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// progress shows how far something is: a bar that is drawn again and again on
// a terminal, a line now and then elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	width    func() int
	now      func() time.Time

	began, drawn time.Time
	first        int64 // done when it began
	label        string
}

const (
	redraw    = 100 * time.Millisecond // at most so often on a terminal
	plainLine = 5 * time.Second        // at most so often elsewhere
)

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, now: time.Now, width: func() int { return 80 }}
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.terminal = true
		p.width = func() int {
			columns, _, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80
			}
			return columns
		}
	}
	return p
}

// state is what a progress shows.
type state struct {
	label               string // what goes on; a new label is always shown
	done, failed, total int64
	unit                string // "lines", or "B" for bytes
}

// show draws s, unless it was drawn just now.
func (p *progress) show(s state) {
	now := p.now()
	fresh := s.label != p.label
	if fresh {
		p.label, p.began, p.first = s.label, now, s.done
	}
	pause := plainLine
	if p.terminal {
		pause = redraw
	}
	if !fresh && s.done < s.total && now.Sub(p.drawn) < pause {
		return
	}
	p.drawn = now
	text := s.text(now.Sub(p.began), s.done-p.first)
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	width := max(p.width(), 20)
	room := width - len([]rune(text)) - 4
	if room >= 10 && s.total > 0 {
		full := int(int64(room) * min(s.done, s.total) / s.total)
		text = "[" + strings.Repeat("█", full) + strings.Repeat("·", room-full) + "] " + text
	}
	if r := []rune(text); len(r) >= width {
		text = string(r[:width-1])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}

// end leaves what was drawn last on its line.
func (p *progress) end() {
	if p.terminal && p.label != "" {
		fmt.Fprintln(p.w)
	}
	p.label = ""
}

// text is the figures of s, elapsed after its beginning, with so much done
// since then.
func (s state) text(elapsed time.Duration, since int64) string {
	out := s.label
	if s.total <= 0 {
		return out
	}
	out += fmt.Sprintf(" %d%% %s/%s", 100*s.done/s.total, s.count(s.done), s.count(s.total))
	if s.failed > 0 {
		out += fmt.Sprintf(", %d failed", s.failed)
	}
	if seconds := elapsed.Seconds(); since > 0 && seconds >= 0.5 {
		rate := float64(since) / seconds
		out += fmt.Sprintf(", %s/s", s.count(int64(rate)))
		if left := s.total - s.done; left > 0 {
			out += ", " + (time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second) + 0).String() + " left"
		}
	}
	return out
}

func (s state) count(n int64) string {
	if s.unit != "B" {
		return fmt.Sprint(n)
	}
	return size(n)
}

// size writes a number of bytes for people.
func size(n int64) string {
	value, units := float64(n), "BKMGT"
	i := 0
	for value >= 1000 && i < len(units)-1 {
		value /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %cB", value, units[i])
}
