package tidegatetest

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Throughput is the work of a class as the page Throughput of the dashboard shows it for
// the last 24 h. It comes from counters that deletions of batches do not change.
type Throughput struct{ Requests, Failures, InputTokens, OutputTokens int64 }

// BatchThroughput returns the counted work of batch lines.
func (g *Gateway) BatchThroughput(tb testing.TB) (t Throughput) {
	tb.Helper()
	page := g.wantBytes(tb, http.MethodGet, "/dashboard/throughput", "", nil)
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		tb.Fatal(err)
	}
	row := rowOf(root, "Batch")
	if row == nil {
		tb.Fatalf("the page Throughput has no row of batches: %s", page)
	}
	for label, into := range map[string]*int64{"Requests": &t.Requests, "Failed": &t.Failures, "Tokens in": &t.InputTokens, "Tokens out": &t.OutputTokens} {
		n, err := strconv.ParseInt(numberOf(row, label), 10, 64)
		if err != nil {
			tb.Fatalf("%q in the page Throughput: %v", label, err)
		}
		*into = n
	}
	return t
}

// rowOf returns the first row of a table with a header of this text.
func rowOf(root *html.Node, header string) *html.Node {
	for n := range root.Descendants() {
		if n.Data == "th" && attribute(n, "scope") == "row" && textOf(n) == header {
			return n.Parent
		}
	}
	return nil
}

// numberOf returns the digits of the first number in a cell. A large one is shortened,
// and its title has all digits.
func numberOf(row *html.Node, label string) string {
	for cell := range row.ChildNodes() {
		if attribute(cell, "data-label") != label {
			continue
		}
		for n := range cell.ChildNodes() {
			text := textOf(n)
			if title := attribute(n, "title"); title != "" {
				text = title
			}
			if text != "" {
				return strings.ReplaceAll(text, ",", "")
			}
		}
	}
	return ""
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(root *html.Node) string {
	text := root.Data
	if root.Type != html.TextNode {
		text = ""
	}
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			text += n.Data
		}
	}
	return strings.TrimSpace(text)
}
