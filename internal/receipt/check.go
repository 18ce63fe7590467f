package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Content is a file that is compared with a receipt.
type Content struct {
	Name   string
	Bytes  int64
	SHA256 string // hex
}

// Read hashes a content.
func Read(name string, from io.Reader) (Content, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, from)
	return Content{name, n, hex.EncodeToString(sum.Sum(nil))}, err
}

// Finding is the result of comparing one content.
type Finding struct {
	Name string
	Role string // input, output or errors; "" if it differs from each
	// Differences says for each file of the receipt how the content differs.
	Differences []string
}

// Compare finds each content in a receipt. Missing lists the roles of files that no content
// is.
func (r Receipt) Compare(contents []Content) (findings []Finding, missing []string) {
	roles := []struct {
		name string
		file *File
	}{{"input", r.Input}, {"output", r.Output}, {"errors", r.Errors}}
	seen := make(map[string]bool)
	for _, c := range contents {
		f := Finding{Name: c.Name}
		for _, role := range roles {
			switch {
			case role.file == nil:
			case role.file.SHA256 == c.SHA256 && role.file.Bytes == c.Bytes:
				if f.Role == "" || seen[f.Role] { // equal files have several roles
					f.Role = role.name
				}
			case role.file.Bytes != c.Bytes:
				f.Differences = append(f.Differences, fmt.Sprintf("%s %s has %d bytes, this file %d", role.name, role.file.ID, role.file.Bytes, c.Bytes))
			default:
				f.Differences = append(f.Differences, fmt.Sprintf("%s %s has the same %d bytes, but SHA-256 %s, this file %s", role.name, role.file.ID, c.Bytes, role.file.SHA256, c.SHA256))
			}
		}
		if f.Role != "" {
			f.Differences = nil
			seen[f.Role] = true
		}
		findings = append(findings, f)
	}
	for _, role := range roles {
		if role.file != nil && !seen[role.name] {
			missing = append(missing, role.name)
		}
	}
	return findings, missing
}
