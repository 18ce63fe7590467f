package browser

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"

	cdppage "github.com/chromedp/cdproto/page"
)

// pictures is the directory for screenshots.
var pictures = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("TIDEGATE_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".cache", "screenshots")
	}
	return dir, os.MkdirAll(dir, 0o750)
})

// shoot keeps a picture of the whole page.
func (p *tab) shoot(name string) {
	p.Helper()
	picture := call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
		Format: cdppage.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true), OptimizeForSpeed: new(true),
	}).Data
	if !bytes.HasPrefix(picture, []byte("\x89PNG")) {
		p.Fatal("the picture is none")
	}
	dir, err := pictures()
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+p.looks.name+".png"), picture, 0o600); err != nil {
		p.Fatal(err)
	}
}
