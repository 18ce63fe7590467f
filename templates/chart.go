package templates

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Unit is the unit of a chart's values.
type Unit string

// The units of charts.
const (
	Numbers Unit = ""        // counts
	Sizes   Unit = "bytes"   //
	Shares  Unit = "share"   // of 1
	Seconds Unit = "seconds" //
)

// Write writes a value.
func (u Unit) Write(f float64) string {
	switch u {
	case Sizes:
		return Bytes(int64(math.Round(f)))
	case Shares:
		return Percent(f)
	case Seconds:
		if f == 0 {
			return "0"
		}
		return Brief(time.Duration(f * float64(time.Second)))
	default:
		if f >= 1000 {
			return Short(int64(math.Round(f)))
		}
		if f == math.Trunc(f) {
			return strconv.Itoa(int(f))
		}
		return digits(f)
	}
}

// exact formats a value for the table of a chart.
func (u Unit) exact(f float64) string {
	if u == Numbers && f == math.Trunc(f) {
		return Count(int64(f))
	}
	return u.Write(f)
}

// Chart is a chart of columns over time. The series of one column are stacked.
type Chart struct {
	ID     string // unique on the page
	Title  string
	Unit   Unit
	Series []Series
	// Columns go from the oldest to the newest.
	Columns []Column
	Top     float64 // of the scale; 0: as the values need it
	Apart   bool    // columns stand apart; they are an area otherwise
}

// Series is one kind of values.
type Series struct{ Name, Tone string } // Tone: live, batch, bad, good, plain

// Column is one step of time.
type Column struct {
	Name   string    // of the step: "Mon 14:15–14:30"
	Tick   string    // under the axis; "" for most
	Major  bool      // the tick is shown on phones too
	Values []float64 // of each series
	Missed bool      // the values are not known
}

// Dimensions of charts in pixels.
const (
	plotHeight = 96
	plotTop    = 8 // so that the highest label is not cut
	axisHeight = 20
	axisBase   = plotTop + plotHeight
	fullHeight = axisBase + axisHeight
)

// mark is a line of the grid.
type mark struct {
	y     string // from the top
	label string
	textY string
}

// bar is a segment of a column.
type bar struct{ y, height, tone string }

// stack is a column with its position.
type stack struct {
	x, width string // of the whole step
	barX     string
	barWidth string
	title    string
	bars     []bar
	missed   bool
}

// tick is a label under the axis.
type tick struct {
	x, anchor, text string
	major           bool
}

// scale returns the top of the scale and the distance between its marks.
func (c Chart) scale() (top, step float64) {
	top = c.Top
	if top == 0 {
		for _, col := range c.Columns {
			var sum float64
			for _, v := range col.Values {
				sum += v
			}
			top = max(top, sum)
		}
	}
	if top == 0 {
		return 1, 1
	}
	step = nice(top / 3)
	if c.Unit == Numbers && step < 1 && top >= 1 {
		step = 1
	}
	if c.Top == 0 {
		top = math.Ceil(top/step-1e-9) * step
	}
	return top, step
}

// nice returns the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below
// f.
func nice(f float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(f)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if m*power >= f*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

func (c Chart) marks() []mark {
	top, step := c.scale()
	var all []mark
	for v := 0.; v <= top*(1+1e-9); v += step {
		y := axisBase - v/top*plotHeight
		all = append(all, mark{pixels(y), plain(c.Unit.Write(v)), pixels(y + 3.5)})
	}
	return all
}

// plain removes trailing zeros from the labels of marks.
func plain(label string) string {
	number, unit, _ := strings.Cut(label, " ")
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return strings.TrimSpace(number + " " + unit)
}

func (c Chart) stacks() []stack {
	top, _ := c.scale()
	step := 100 / float64(len(c.Columns))
	share := 1.0
	if c.Apart && len(c.Columns) <= 200 {
		share = .82
	}
	all := make([]stack, 0, len(c.Columns))
	for i, col := range c.Columns {
		x := float64(i) * step
		s := stack{
			x: percent(x), width: percent(step),
			barX: percent(x + step*(1-share)/2), barWidth: percent(step * share),
			title: c.says(col), missed: col.Missed,
		}
		base := float64(axisBase)
		for j, v := range col.Values {
			if v <= 0 || col.Missed {
				continue
			}
			h := max(1, v/top*plotHeight)
			base -= h
			s.bars = append(s.bars, bar{pixels(base), pixels(h), c.Series[j].Tone})
		}
		all = append(all, s)
	}
	return all
}

// says returns the tooltip of a column.
func (c Chart) says(col Column) string {
	text := col.Name
	if col.Missed {
		return text + "\nnot measured"
	}
	for i, v := range col.Values {
		text += "\n" + c.Series[i].Name + " " + c.Unit.exact(v)
	}
	return text
}

func (c Chart) ticks() []tick {
	step := 100 / float64(len(c.Columns))
	var all []tick
	for i, col := range c.Columns {
		if col.Tick == "" {
			continue
		}
		x, anchor := float64(i)*step, "middle"
		switch {
		case x < 2 && len(c.Columns) > i+1 && c.tickWithin(i+1, tickRoom/step):
			continue // the next label would overlap
		case x < 2:
			anchor = "start"
		case x > 97:
			anchor = "end"
		}
		all = append(all, tick{percent(x), anchor, col.Tick, col.Major})
	}
	return all
}

// tickRoom is the minimum distance between two labels, in percent of a narrow chart.
const tickRoom = 16

// tickWithin reports whether one of the columns from the first on has a tick.
func (c Chart) tickWithin(first int, columns float64) bool {
	for _, col := range c.Columns[first:min(len(c.Columns), first+int(columns))] {
		if col.Tick != "" {
			return true
		}
	}
	return false
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) + "%" }

func pixels(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
