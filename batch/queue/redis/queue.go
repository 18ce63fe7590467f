package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// Queue is a batch.Queue on a Redis server.
type Queue struct {
	cfg    Config
	log    *zap.Logger
	wake   chan struct{}
	popped *popped

	// Set by Open.
	client   rueidis.Client
	links    *links
	deafen   context.CancelFunc // ends listening
	hearing  sync.WaitGroup
	closeOne sync.Once
}

var _ batch.Queue = (*Queue)(nil)

// New makes a queue. It does no I/O.
func New(cfg Config) *Queue {
	cfg = cfg.withDefaults()
	return &Queue{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), popped: newPopped(rememberAtMost)}
}

// Capabilities implements batch.Queue.
func (*Queue) Capabilities() batch.QueueCapabilities { return batch.QueueCapabilities{} }

var errNotOpen = errors.New("the queue is not open")

// bounded is a context for one round trip.
func (q *Queue) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, q.cfg.Timeout)
}

// Ping executes a write: a server that is a replica, out of memory or unable to save its
// data answers PING, but refuses the commands of the queue.
func (q *Queue) Ping(ctx context.Context) error {
	if q.client == nil {
		return errNotOpen
	}
	name := "ping-" + q.cfg.Instance
	err := q.write(ctx, name)
	if errors.Is(err, net.ErrClosed) { // the queue itself gave up the connection, see failed
		err = q.write(ctx, name)
	}
	if wrongType(err) {
		if err = q.replace(ctx, name); err == nil {
			err = q.write(ctx, name)
		}
	}
	return q.failed("writing to Redis", err)
}

// write adds an entry to a stream that is forgotten soon.
func (q *Queue) write(ctx context.Context, name string) error {
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	b, key := q.client.B(), q.cfg.stream(name)
	for _, answer := range q.client.DoMulti(ctx,
		b.Xadd().Key(key).Maxlen().Threshold("1").Id("*").FieldValue().FieldValue(field, "0").Build(),
		b.Pexpire().Key(key).Milliseconds(tryTTL.Milliseconds()).Build(),
	) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}

// pushAtOnce is the number of numbers in one round trip. It limits the memory and the
// duration of a round trip.
const pushAtOnce = 1000

// Push adds numbers, in round trips of a thousand. Entries of numbers that this instance
// popped and now releases are replaced.
func (q *Queue) Push(ctx context.Context, batchID string, numbers []int) error {
	if q.client == nil {
		return errNotOpen
	}
	for begin := 0; begin < len(numbers); begin += pushAtOnce {
		some := numbers[begin:min(begin+pushAtOnce, len(numbers))]
		replaced := q.popped.take(batchID, some)
		err := q.push(ctx, batchID, some, replaced)
		if wrongType(err) {
			if err = q.replace(ctx, batchID); err == nil {
				err = q.push(ctx, batchID, some, replaced)
			}
		}
		if err != nil {
			q.popped.add(batchID, replaced)
			return q.failed(fmt.Sprintf("queueing slices of %s", batchID), err)
		}
	}
	return q.Notify(ctx)
}

// push is one round trip of Push. New entries are added first: an interruption may leave a
// number twice, which is harmless, but never loses it.
func (q *Queue) push(ctx context.Context, batchID string, numbers []int, replaced []entry) error {
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	b, key := q.client.B(), q.cfg.stream(batchID)
	commands := make([]rueidis.Completed, 0, len(numbers)+4)
	commands = append(commands, b.XgroupCreate().Key(key).Group(group).Id("0").Mkstream().Build())
	for _, n := range numbers {
		commands = append(commands, b.Xadd().Key(key).Id("*").FieldValue().FieldValue(field, strconv.Itoa(n)).Build())
	}
	commands = append(commands, b.Pexpire().Key(key).Milliseconds(q.cfg.TTL.Milliseconds()).Build())
	commands = append(commands, q.remove(key, replaced)...)
	for _, answer := range q.client.DoMulti(ctx, commands...) {
		if err := answer.Error(); err != nil && !rueidis.IsRedisBusyGroup(err) {
			return err
		}
	}
	return nil
}

// remove returns the commands that remove entries from the group and the stream.
func (q *Queue) remove(key string, entries []entry) []rueidis.Completed {
	if len(entries) == 0 {
		return nil
	}
	b, ids := q.client.B(), idsOf(entries)
	return []rueidis.Completed{
		b.Xack().Key(key).Group(group).Id(ids...).Build(),
		b.Xdel().Key(key).Id(ids...).Build(),
	}
}

// Done takes out the entries by which this instance was given the numbers.
func (q *Queue) Done(ctx context.Context, batchID string, numbers []int) error {
	if q.client == nil {
		return errNotOpen
	}
	entries := q.popped.take(batchID, numbers)
	if err := q.takeOut(ctx, batchID, entries); err != nil {
		q.popped.add(batchID, entries)
		return q.failed(fmt.Sprintf("taking slices of %s out of the queue", batchID), err)
	}
	return nil
}

// takeOut removes entries, in one round trip.
func (q *Queue) takeOut(ctx context.Context, batchID string, entries []entry) error {
	commands := q.remove(q.cfg.stream(batchID), entries)
	if len(commands) == 0 {
		return nil
	}
	round, cancel := q.bounded(ctx)
	defer cancel()
	for _, answer := range q.client.DoMulti(round, commands...) {
		err := answer.Error()
		if wrongType(err) {
			return q.replace(ctx, batchID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Drop deletes a batch's stream and its group with it.
func (q *Queue) Drop(ctx context.Context, batchID string) error {
	if q.client == nil {
		return errNotOpen
	}
	q.popped.drop(batchID)
	return q.failed(fmt.Sprintf("dropping the queue of %s", batchID), q.delete(ctx, batchID))
}

func (q *Queue) delete(ctx context.Context, batchID string) error {
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	return q.client.Do(ctx, q.client.B().Del().Key(q.cfg.stream(batchID)).Build()).Error()
}
