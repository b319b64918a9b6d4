package web

import (
	"time"

	"pillarbox/cmd/internal/traffic"
)

// chart is a bar chart of the last hours: for each hour a bar of the mail that came in, one of the
// mail that went out and one of what was refused, side by side. Numbers are pixels of the drawing.
type chart struct {
	Width, Height int
	Bars          []chartBar
	Gaps          []chartBar // hours that are not known
	Ticks         []chartTick
	Hours         []chartTick // every third hour
	Table         []traffic.Hour
}

type chartBar struct {
	Class      string
	X, Y, W, H int
	Hour       time.Time
	Count      int64
}

type chartTick struct {
	At    int // x or y
	Count int64
	Hour  time.Time
}

// The measures of a chart.
const (
	chartLeft   = 48 // room for the numbers
	chartTop    = 8
	chartInner  = 120 // height of the highest bar
	chartBottom = 24  // room for the hours
	hourWidth   = 36
	barWidth    = 10
	barGap      = 1
	hourMargin  = 2
)

// newChart draws hours.
func newChart(hours []traffic.Hour) chart {
	c := chart{
		Width: chartLeft + hourWidth*len(hours), Height: chartTop + chartInner + chartBottom,
		Table: hours,
	}
	most := int64(1)
	for _, h := range hours {
		most = max(most, h.Delivered, h.Relayed, h.Refused)
	}
	step := roundStep(most)
	top := (most + step - 1) / step * step
	for n := int64(0); n <= top; n += step {
		c.Ticks = append(c.Ticks, chartTick{At: chartTop + chartInner - height(n, top), Count: n})
	}
	for i, h := range hours {
		c.addHour(h, chartLeft+i*hourWidth, top)
		if i%3 == 0 {
			c.Hours = append(c.Hours, chartTick{At: chartLeft + i*hourWidth, Hour: h.Since})
		}
	}
	return c
}

func (c *chart) addHour(h traffic.Hour, x int, top int64) {
	if !h.Known {
		c.Gaps = append(c.Gaps, chartBar{X: x, Y: chartTop, W: hourWidth, H: chartInner, Hour: h.Since})
		return
	}
	for i, one := range []struct {
		class string
		count int64
	}{{"in", h.Delivered}, {"out", h.Relayed}, {"refused", h.Refused}} {
		high := height(one.count, top)
		if one.count > 0 {
			high = max(high, 1)
		}
		c.Bars = append(c.Bars, chartBar{
			Class: one.class, X: x + hourMargin + i*(barWidth+barGap), Y: chartTop + chartInner - high,
			W: barWidth, H: high, Hour: h.Since, Count: one.count,
		})
	}
}

func height(n, top int64) int { return int(n * chartInner / top) }

// roundStep returns a step of 1, 2 or 5 times a power of ten that divides a count into at most four.
func roundStep(most int64) int64 {
	for power := int64(1); ; power *= 10 {
		for _, n := range []int64{1, 2, 5} {
			if n*power*4 >= most {
				return n * power
			}
		}
	}
}
