package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// field is the one field of an entry: the slice's number.
const field = "n"

// Pop reads new entries. If there are none, it claims entries that others popped more than
// Config.Idle ago and did not report as done.
//
// If the response is lost, the entries are claimed again after Config.Idle, like those of a
// dead instance.
func (q *Queue) Pop(ctx context.Context, batchID string, n int) ([]int, error) {
	if q.client == nil {
		return nil, errNotOpen
	}
	if n <= 0 {
		return nil, nil
	}
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	numbers, err := q.pop(ctx, batchID, n)
	if wrongType(err) {
		numbers, err = nil, q.replace(ctx, batchID)
	}
	if err != nil {
		return nil, q.failed(fmt.Sprintf("taking slices of %s from the queue", batchID), err)
	}
	return numbers, nil
}

func (q *Queue) pop(ctx context.Context, batchID string, n int) ([]int, error) {
	for {
		messages, err := q.read(ctx, batchID, n)
		if noGroup(err) {
			var made bool
			if made, err = q.makeGroup(ctx, batchID); made {
				continue
			}
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			return q.takeOver(ctx, batchID, n)
		}
		numbers, err := q.remember(ctx, batchID, messages)
		if err != nil || len(numbers) > 0 {
			return numbers, err
		}
		// All entries were invalid and are removed; later ones may be valid.
	}
}

// read reads new entries.
func (q *Queue) read(ctx context.Context, batchID string, n int) ([]rueidis.XRangeEntry, error) {
	key := q.cfg.stream(batchID)
	answer := q.client.Do(ctx, q.client.B().Xreadgroup().Group(group, q.cfg.Instance).Count(int64(n)).
		Streams().Key(key).Id(">").Build())
	streams, err := answer.AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return streams[key], err
}

// takeOver claims entries that have been pending for too long. Each step examines ten times
// as many entries as requested; the steps cover all pending entries.
func (q *Queue) takeOver(ctx context.Context, batchID string, n int) ([]int, error) {
	key, idle := q.cfg.stream(batchID), strconv.FormatInt(q.cfg.Idle.Milliseconds(), 10)
	for cursor := "0-0"; ; {
		answer := q.client.Do(ctx, q.client.B().Xautoclaim().Key(key).Group(group).Consumer(q.cfg.Instance).
			MinIdleTime(idle).Start(cursor).Count(int64(n)).Build())
		next, messages, err := claimed(answer)
		if noGroup(err) {
			return nil, nil // dropped just now
		}
		if err != nil {
			return nil, err
		}
		numbers, err := q.remember(ctx, batchID, messages)
		if err != nil || len(numbers) > 0 || next == "0-0" {
			return numbers, err
		}
		cursor = next
	}
}

// claimed parses the response of XAUTOCLAIM: the next position, and the entries. Redis 7
// returns a third value, the ids of deleted pending entries; 6.2 has nil in their place
// among the entries.
func claimed(answer rueidis.RedisResult) (next string, messages []rueidis.XRangeEntry, err error) {
	values, err := answer.ToArray()
	if err != nil {
		return "", nil, err
	}
	if len(values) < 2 {
		return "", nil, fmt.Errorf("XAUTOCLAIM answered with %d values", len(values))
	}
	if next, err = values[0].ToString(); err != nil {
		return "", nil, err
	}
	list, err := values[1].ToArray()
	if err != nil {
		return "", nil, err
	}
	for _, v := range list {
		if v.IsNil() {
			continue
		}
		message, err := v.AsXRangeEntry()
		if err != nil {
			return "", nil, err
		}
		messages = append(messages, message)
	}
	return next, messages, nil
}

// remember returns the numbers in messages and records their entries. Entries without a
// number are invalid and are removed.
func (q *Queue) remember(ctx context.Context, batchID string, messages []rueidis.XRangeEntry) ([]int, error) {
	var (
		numbers = make([]int, 0, len(messages))
		entries = make([]entry, 0, len(messages))
		rubbish []entry
	)
	for _, m := range messages {
		e := entry{id: strings.Clone(m.ID)} // not to keep the whole answer
		n, err := strconv.ParseUint(m.FieldValues[field], 10, 31)
		if err != nil {
			rubbish = append(rubbish, e)
			continue
		}
		e.number = int(n)
		numbers, entries = append(numbers, e.number), append(entries, e)
	}
	q.popped.add(batchID, entries)
	if len(rubbish) > 0 {
		q.log.Warn("removing queue entries without a slice number",
			zap.String("batch", batchID), zap.Int("entries", len(rubbish)))
		if err := q.takeOut(ctx, batchID, rubbish); err != nil && len(numbers) == 0 {
			return nil, err
		}
	}
	return numbers, nil
}
