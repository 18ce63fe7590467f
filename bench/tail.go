package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	tailLines   = 12_000
	tailBytes   = 20_000 // of a prompt
	tailEvery   = 13     // interval of slow lines: one in each slice
	tailServers = 4
	tailSlots   = 384 // of a server
	tailShort   = 200 * time.Millisecond
	tailLong    = 5 * time.Second
)

// measureTail compares the time of long prompts, some with long responses, with Graham's
// bound: a scheduler that leaves no slot idle while a line waits needs at most the total
// work divided by the slots, plus one long response
// (https://doi.org/10.1137/0117039).
func measureTail(ctx context.Context, b *bench) (any, error) {
	const long = (tailLines + tailEvery - 1) / tailEvery
	work := long*tailLong + (tailLines-long)*tailShort
	bound := work/(tailServers*tailSlots) + tailLong
	servers := slotFleet{slots: tailSlots, servers: slices.Repeat([][]string{{"--ttft", tailShort.String()}}, tailServers)}
	walls, err := b.makespan(ctx, servers, 3, func(to io.Writer) error {
		return writeLines(to, tailLines, tailBytes, func(i int) string {
			if i%tailEvery == 0 {
				return fmt.Sprintf("[[sim:slow=%s]]", tailLong)
			}
			return ""
		})
	})
	if err != nil {
		return nil, err
	}
	return walls.beside("tail", "bound", bound), nil
}
