package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// The Syntax blocks of configuration.md are those of the comments above the
// functions that parse them.
func TestSyntaxBlocksMatchTheComments(t *testing.T) {
	root := filepath.Join("..", "..")
	blocks := make(map[string]bool)
	for _, block := range fenced(read(t, filepath.Join(root, "docs", "configuration.md"))) {
		blocks[block] = true
	}
	files, err := filepath.Glob(filepath.Join(root, "caddymodule", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Doc == nil || f.Name.Name != "UnmarshalCaddyfile" && f.Name.Name != "parseDashboard" {
				continue
			}
			checked++
			if want := indented(f.Doc); !blocks[want] {
				t.Errorf("docs/configuration.md has no code block with the syntax of %s in %s, want\n%s", f.Name.Name, filepath.Base(name), want)
			}
		}
	}
	if checked < 9 {
		t.Errorf("got %d comments with a syntax, want at least 9", checked)
	}
}

// indented returns the code block of a doc comment, without its indentation.
func indented(doc *ast.CommentGroup) string {
	var out strings.Builder
	for _, c := range doc.List {
		if line, ok := strings.CutPrefix(c.Text, "//\t"); ok {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// fenced returns the contents of the fenced code blocks of a document.
func fenced(text string) []string {
	var blocks []string
	var block strings.Builder
	code := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			if code {
				blocks = append(blocks, block.String())
				block.Reset()
			}
			code = !code
		case code:
			block.WriteString(line)
		}
	}
	return blocks
}
