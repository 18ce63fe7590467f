package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// prefixJob is a batch whose lines share prefixes in groups.
type prefixJob struct {
	Name     string `json:"name"`
	Groups   int    `json:"groups"`
	Lines    int    `json:"lines_of_a_group"`
	Shared   int    `json:"shared_tokens"` // of the lines of a group
	Own      int    `json:"own_tokens"`    // of each line
	Generate int    `json:"generated_tokens"`

	first int // number of the first group
}

// after returns a job of the same size whose prefixes differ.
func (j prefixJob) after() prefixJob {
	j.first += j.Groups
	return j
}

// groupLine is a line of a prefixJob.
type groupLine struct{ group, number int }

// prefixSeed makes the order of the lines the same in each run.
const prefixSeed = 15

func (j prefixJob) size() int { return j.Groups * j.Lines }

// grouped returns the lines group by group.
func (j prefixJob) grouped() []groupLine {
	all := make([]groupLine, 0, j.size())
	for g := range j.Groups {
		for n := range j.Lines {
			all = append(all, groupLine{g, n})
		}
	}
	return all
}

// shuffled returns the lines in an order that prefixSeed decides.
func (j prefixJob) shuffled() []groupLine {
	all := j.grouped()
	rand.New(rand.NewPCG(prefixSeed, uint64(j.size()))).Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	return all
}

// body is the request of a line: the text of its group, and behind it its own.
func (j prefixJob) body(l groupLine) []byte {
	shared := fmt.Sprintf("Document %06d: ", j.first+l.group)
	shared += strings.Repeat("tide ", tokenBytes*j.Shared/5)[:tokenBytes*j.Shared-len(shared)]
	head := fmt.Sprintf(`{"model":"%s","stream":false,"max_tokens":%d,"messages":[{"role":"user","content":"%s%06d `, model, j.Generate, shared, l.number)
	tail := fmt.Sprintf(` [[sim:tokens=%d]]"}]}`, j.Generate)
	filler := max(0, tokenBytes*(j.Shared+j.Own)-len(head)-len(tail))
	return []byte(head + strings.Repeat("gate ", filler/5+1)[:filler] + tail)
}

// write writes lines as the input of a batch.
func (j prefixJob) write(to io.Writer, lines []groupLine) error {
	for i, l := range lines {
		if _, err := fmt.Fprintf(to, `{"custom_id":"line-%06d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", i, j.body(l)); err != nil {
			return fmt.Errorf("writing input: %w", err)
		}
	}
	return nil
}

// unique counts the tokens of the job.
func (j prefixJob) unique() (u uniquePrompts) {
	for _, l := range j.grouped() {
		u.add(j.body(l))
	}
	return u
}

// divide assigns the groups to servers in turn. Each server gets its groups one
// after the other.
func (j prefixJob) divide(servers int) [][]groupLine {
	all := make([][]groupLine, servers)
	for _, l := range j.grouped() {
		all[l.group%servers] = append(all[l.group%servers], l)
	}
	return all
}
