package web

import (
	"fmt"
	"html/template"
	"image"
	"image/color"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// qrCode draws a text as a QR code: an SVG with dark modules on white, also on a dark page, because
// many telephones read no inverted code. The SVG has no text of the caller in it.
func qrCode(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", fmt.Errorf("QR code: %w", err)
	}
	const quiet = 4 // modules around the code (ISO/IEC 18004)
	size := code.Bounds().Dx() + 2*quiet
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="qr" viewBox="0 0 %d %[1]d" role="img" shape-rendering="crispEdges">`+
		`<title>QR</title><rect width="%[1]d" height="%[1]d" fill="#ffffff"/><path fill="#000000" d="`, size)
	for y := range code.Bounds().Dy() {
		for x := 0; x < code.Bounds().Dx(); {
			run := darkRun(code, x, y)
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%[3]dz", x+quiet, y+quiet, run)
			}
			x += max(run, 1)
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}

// darkRun returns the number of dark modules of a line from x on.
func darkRun(code image.Image, x, y int) (n int) {
	for x+n < code.Bounds().Dx() && code.At(x+n, y) == color.Black {
		n++
	}
	return n
}
