package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plots are SVG written by hand: two kinds of them are not worth a plotting
// library among the product's dependencies.

type svg struct{ strings.Builder }

func newSVG(width, height float64) *svg {
	s := &svg{}
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n", width, height)
	return s
}

func (s *svg) text(x, y float64, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

func (s *svg) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (s *svg) end() string { return s.String() + "</svg>\n" }

// barsChart draws every judged figure as a part of what its bar allows, on a
// logarithmic scale: left of the line at 1 it is met.
func barsChart(r *Report) string {
	var judged []Measurement
	for _, p := range r.Parts {
		for _, m := range p.Measurements {
			if m.OfBar != nil {
				judged = append(judged, m)
			}
		}
	}
	const left, width, row, low, high = 470.0, 420.0, 18.0, 0.01, 100.0
	at := func(v float64) float64 {
		v = min(max(v, low), high)
		return left + width*math.Log(v/low)/math.Log(high/low)
	}
	bottom := 34 + row*float64(len(judged))
	s := newSVG(left+width+60, bottom+12)
	for v := low; v <= high*1.01; v *= 10 {
		colour := "#ddd"
		if math.Abs(v-1) < 0.01 {
			colour = "black"
		}
		s.line(at(v), 24, at(v), bottom, colour)
		s.text(at(v), 18, "middle", fmt.Sprintf("%g×", math.Round(v*100)/100))
	}
	s.text(left-8, 18, "end", "part of what the bar allows (left of 1× is met)")
	for i, m := range judged {
		y := 30 + row*float64(i)
		colour := "#2a7f4f"
		if !*m.Met {
			colour = "#c0392b"
		}
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="12" fill="%s"/>`+"\n", left, y, max(at(*m.OfBar)-left, 1), colour)
		s.text(left-8, y+10, "end", clip(m.ID+" "+m.What+" ("+m.Bar+")", 82))
		s.text(at(*m.OfBar)+4, y+10, "start", fmt.Sprintf("%.2g", *m.OfBar))
	}
	return s.end()
}

func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

// growthChart draws a panel for each curve, both scales logarithmic.
func growthChart(g *Growth) string {
	const width, height, columns = 380.0, 230.0, 2
	rows := (len(g.Curves) + columns - 1) / columns
	s := newSVG(width*columns, height*float64(rows))
	for i, c := range g.Curves {
		s.panel(c, width*float64(i%columns), height*float64(i/columns), width, height)
	}
	return s.end()
}

func (s *svg) panel(c Curve, x0, y0, width, height float64) {
	// Nothing has no logarithm: it stands a decade before the smallest size.
	smallest, largest, low, high := math.Inf(1), 0.0, math.Inf(1), 0.0
	for _, p := range c.Points {
		if p[0] > 0 {
			smallest = min(smallest, p[0])
		}
		largest = max(largest, p[0])
		if p[1] > 0 {
			low, high = min(low, p[1]), max(high, p[1])
		}
	}
	if largest == 0 || high == 0 {
		return
	}
	from := smallest / 10
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high*1.001)))
	left, right, top, bottom := x0+48, x0+width-16, y0+30, y0+height-38
	atX := func(v float64) float64 { return left + (right-left)*math.Log(max(v, from)/from)/math.Log(largest/from) }
	atY := func(v float64) float64 {
		return bottom - (bottom-top)*math.Log(max(v, low)/low)/math.Log(high/low)
	}
	s.text(x0+width/2, y0+18, "middle", clip(c.Name+" ["+c.Unit+"]", 66))
	for v := low; v <= high*1.01; v *= 10 {
		s.line(left, atY(v), right, atY(v), "#ddd")
		s.text(left-5, atY(v)+4, "end", fmt.Sprintf("%g", math.Round(v*1000)/1000))
	}
	var path strings.Builder
	for i, p := range c.Points {
		s.text(atX(p[0]), bottom+15, "middle", short(p[0]))
		fmt.Fprintf(s, `<circle cx="%.1f" cy="%.1f" r="3" fill="#1f5fa8"/>`+"\n", atX(p[0]), atY(p[1]))
		fmt.Fprintf(&path, "%c%.1f %.1f ", "ML"[min(i, 1)], atX(p[0]), atY(p[1]))
	}
	fmt.Fprintf(s, `<path d="%s" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>`+"\n", strings.TrimSpace(path.String()))
	s.text(x0+width/2, bottom+30, "middle", c.By)
}

// short writes 10000 as 10k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
