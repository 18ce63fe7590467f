package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// answered reports whether err is an error that the server answered, of a kind:
// its first word, such as WRONGTYPE.
func answered(err error, kind string) bool {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	return ok && strings.HasPrefix(e.Error(), kind)
}

func wrongType(err error) bool { return answered(err, "WRONGTYPE") }
func noGroup(err error) bool   { return answered(err, "NOGROUP") }

// replace deletes a key under our name that is no stream. Where two instances do
// so, what one has pushed in between is lost, and found in the store.
func (q *Queue) replace(ctx context.Context, batchID string) error {
	q.log.Warn("deleting a key that should be a stream and is not", zap.String("key", q.cfg.stream(batchID)))
	return q.delete(ctx, batchID)
}

// makeGroup makes the group of a stream that has none. Without a stream there
// is nothing to read, and nothing is made: not every batch that was asked for
// still exists.
func (q *Queue) makeGroup(ctx context.Context, batchID string) (made bool, err error) {
	err = q.client.Do(ctx, q.client.B().XgroupCreate().Key(q.cfg.stream(batchID)).Group(group).Id("0").Build()).Error()
	switch {
	case err == nil, rueidis.IsRedisBusyGroup(err): // busy: another was first
		return true, nil
	case strings.Contains(err.Error(), "requires the key to exist"):
		return false, nil
	}
	return false, err
}

// failed returns a command's error its context.
func (q *Queue) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	if answered(err, "READONLY") {
		// The server became a replica, and its name may lead to another by
		// now. A connection that is open would stay with the old one for ever.
		q.links.drop()
	}
	return fmt.Errorf("%s: %w", doing, q.cfg.Server.hide(err))
}

// hide takes passwords out of an error's text: some servers and proxies repeat
// the commands that they refuse.
func (s Server) hide(err error) error {
	text := err.Error()
	for _, secret := range s.secrets() {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
