package openai

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Nearest returns up to n of the known names that word may have been meant for,
// nearest first. Case does not count. A name is taken when it has about a
// quarter of its letters wrong or fewer, when one contains the other, or when
// that holds for the parts after the last "/", as in "org/model".
func Nearest(word string, known []string, n int) []string {
	if word == "" || len(word) > nearestLength || n <= 0 {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	lower := strings.ToLower(word)
	for _, name := range known {
		if len(name) > nearestLength {
			continue
		}
		if d, ok := distance(lower, strings.ToLower(name)); ok {
			near = append(near, candidate{name, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	names := make([]string, 0, min(n, len(near)))
	for _, c := range near[:min(n, len(near))] {
		names = append(names, c.name)
	}
	return names
}

const (
	// nearestLength limits names, in bytes, and so the work for a word from
	// a request.
	nearestLength = 256
	// containedLength is the minimum length of a name that counts as a part of
	// another.
	containedLength = 3
)

// letter is the distance of one wrong letter. A missing letter, if one name is a part of
// the other, has a quarter of it.
const letter = 4

// distance returns the distance of two lower-case names, and whether one may be a misspelling
// of the other.
func distance(word, name string) (int, bool) {
	d, ok := partDistance(word, name)
	wordPart, namePart := lastPart(word), lastPart(name)
	if wordPart == word && namePart == name {
		return d, ok
	}
	// A wrong organisation counts as one letter.
	if dp, okp := partDistance(wordPart, namePart); okp && (!ok || dp+letter < d) {
		return dp + letter, true
	}
	return d, ok
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func partDistance(a, b string) (int, bool) {
	la, lb := utf8.RuneCountInString(a), utf8.RuneCountInString(b)
	longer, shorter := max(la, lb), min(la, lb)
	d := editDistance([]rune(a), []rune(b))
	if shorter >= containedLength && (strings.Contains(a, b) || strings.Contains(b, a)) {
		return min(letter*d, letter+longer-shorter), true
	}
	return letter * d, shorter > 0 && d <= max(1, (longer+1)/4)
}

// editDistance is Levenshtein's, with the exchange of two neighbours as one
// edit.
func editDistance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			differ := 1
			if a[i] == b[j] {
				differ = 0
			}
			row[j+1] = min(last[j]+differ, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
