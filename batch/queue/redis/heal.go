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

// replace deletes a key with a stream's name that is not a stream. If two instances do
// so, numbers that one pushes in between are lost; the engine finds them in the store.
func (q *Queue) replace(ctx context.Context, batchID string) error {
	q.log.Warn("deleting a key that should be a stream and is not", zap.String("key", q.cfg.stream(batchID)))
	return q.delete(ctx, batchID)
}

// makeGroup creates the group of a stream that has none. Without a stream it does
// nothing, because the batch may no longer exist.
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

// failed adds context to a command's error.
func (q *Queue) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	if answered(err, "READONLY") {
		// The server became a replica, and its name may resolve to another
		// server now. An open connection would stay with the old one.
		q.links.drop()
	}
	return fmt.Errorf("%s: %w", doing, q.cfg.Server.hide(err))
}

// hide removes passwords from an error's text, because some servers and proxies repeat
// refused commands.
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
