package templates

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
)

//go:embed assets/app.css assets/app.js assets/live.js assets/icon.svg
//go:embed assets/htmx.min.js assets/htmx-ext-sse.min.js assets/idiomorph.min.js
//go:embed assets/htmx.LICENSE assets/htmx-ext-sse.LICENSE assets/idiomorph.LICENSE
var embedded embed.FS

// Asset is a file that pages refer to.
type Asset struct {
	Type    string // of its content
	Hash    string // of its content; part of the asset's URL
	Content []byte
}

// assetTypes are the content types by file extension.
var assetTypes = map[string]string{
	".css":     "text/css; charset=utf-8",
	".js":      "text/javascript; charset=utf-8",
	".svg":     "image/svg+xml",
	".LICENSE": "text/plain; charset=utf-8",
}

// Assets contains all assets by name.
var Assets = readAssets()

func readAssets() map[string]Asset {
	all := make(map[string]Asset)
	entries, err := fs.ReadDir(embedded, "assets")
	if err != nil {
		panic(fmt.Sprintf("reading embedded assets: %v", err)) // they are part of the program
	}
	for _, e := range entries {
		content, err := embedded.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("reading embedded assets: %v", err))
		}
		sum := sha256.Sum256(content)
		all[e.Name()] = Asset{assetTypes[path.Ext(e.Name())], hex.EncodeToString(sum[:8]), content}
	}
	return all
}
