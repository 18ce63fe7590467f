package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// inspect checks the server's version, its maxmemory-policy, and the permissions of the
// user.
func (q *Queue) inspect(ctx context.Context, client rueidis.Client) error {
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	info, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if answered(err, "NOPERM") {
		q.log.Warn("the version of Redis is unknown, as INFO is not permitted", zap.Error(err))
	} else if err != nil {
		return fmt.Errorf("asking for the version: %w", passing(err))
	} else if err := checkVersion(info); err != nil {
		return err
	}
	if err := q.tryAll(ctx, client); err != nil {
		return err
	}
	settings, err := client.Do(ctx, client.B().ConfigGet().Parameter("maxmemory-policy").Build()).AsStrMap()
	if _, refused := errors.AsType[*rueidis.RedisError](err); refused {
		q.log.Debug("maxmemory-policy of Redis is unknown", zap.Error(q.cfg.Server.hide(err)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for maxmemory-policy: %w", passing(err))
	}
	if policy := settings["maxmemory-policy"]; policy != "" && policy != "noeviction" {
		q.log.Warn("Redis may evict queues of batches when its memory is full, which delays batches; set maxmemory-policy to noeviction",
			zap.String("maxmemory_policy", policy))
	}
	return nil
}

// checkVersion requires 6.2, for XAUTOCLAIM. Valkey and others report the version of Redis
// that they are compatible with in redis_version.
func checkVersion(info string) error {
	_, after, found := strings.Cut(info, "redis_version:")
	if !found {
		return errors.New("the server does not report its version")
	}
	version, _, _ := strings.Cut(after, "\n")
	version = strings.TrimSpace(version)
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 2 {
		return fmt.Errorf("the server has the version %q, and Redis 6.2 or Valkey is needed", version)
	}
	major, err1 := strconv.Atoi(numbers[0])
	minor, err2 := strconv.Atoi(numbers[1])
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("reading the server's version %q: %w", version, err)
	}
	if major < 6 || major == 6 && minor < 2 {
		return fmt.Errorf("the server has version %s of Redis, and 6.2 or newer or Valkey is needed", version)
	}
	return nil
}

// tryTTL is the lifetime of the streams of tryAll and Ping.
const tryTTL = time.Minute

// tryAll runs every required command on a separate stream. It returns missing permissions
// now, because later they would look like an intermittent outage. Other failures are
// returned when the command is needed.
func (q *Queue) tryAll(ctx context.Context, client rueidis.Client) error {
	b, key, consumer := client.B(), q.cfg.stream("try-"+q.cfg.Instance), q.cfg.Instance
	for _, answer := range client.DoMulti(ctx,
		b.XgroupCreate().Key(key).Group(group).Id("0").Mkstream().Build(),
		b.Pexpire().Key(key).Milliseconds(tryTTL.Milliseconds()).Build(),
		b.Xadd().Key(key).Id("*").FieldValue().FieldValue(field, "0").Build(),
		b.Xreadgroup().Group(group, consumer).Count(1).Streams().Key(key).Id(">").Build(),
		b.Xautoclaim().Key(key).Group(group).Consumer(consumer).MinIdleTime("60000").Start("0-0").Count(1).Build(),
		b.Xack().Key(key).Group(group).Id("0-1").Build(),
		b.Xdel().Key(key).Id("0-1").Build(),
		b.Del().Key(key).Build(),
	) {
		switch err := answer.Error(); {
		case answered(err, "NOPERM"):
			return fmt.Errorf("trying required commands: %w", err)
		case answered(err, "MOVED"):
			return fmt.Errorf("the server is a cluster node, but CLUSTER SLOTS failed: %w", err)
		}
	}
	err := client.Do(ctx, b.Publish().Channel(q.cfg.channel()).Message("").Build()).Error()
	if answered(err, "NOPERM") {
		return fmt.Errorf("trying required commands on the channel %s: %w", q.cfg.channel(), err)
	}
	return nil
}
