package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Server has the addresses of Redis and the credentials.
type Server struct {
	// Addresses are "host:port". With several, the server must be a cluster; with
	// one, Open detects it. With SentinelMaster, they are those of the sentinels.
	Addresses []string
	// Username is of the access control list; "" is the default user.
	Username string
	Password string
	// Database is the number to SELECT. A cluster has only 0.
	Database int
	// TLS is nil for connections in the clear.
	TLS *TLS

	// SentinelMaster is the name that the sentinels have for the server; ""
	// is for no sentinels.
	SentinelMaster string
	// SentinelUsername and SentinelPassword are for the sentinels themselves.
	SentinelUsername string
	SentinelPassword string
}

// String returns the URL without passwords and other parameters of authentication.
func (s Server) String() string {
	scheme := "redis"
	if s.TLS != nil {
		scheme = "rediss"
	}
	u := url.URL{Scheme: scheme, Host: strings.Join(s.Addresses, ","), Path: "/" + strconv.Itoa(s.Database)}
	if s.Username != "" {
		u.User = url.User(s.Username)
	}
	if s.SentinelMaster != "" {
		u.RawQuery = url.Values{optionSentinelMaster: {s.SentinelMaster}}.Encode()
	}
	return u.String()
}

// check validates a server that was not created by ParseURL.
func (s Server) check() error {
	if len(s.Addresses) == 0 {
		return errors.New("no address of a Redis server")
	}
	for _, address := range s.Addresses {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	if s.Database < 0 {
		return fmt.Errorf("database %d: the number cannot be negative", s.Database)
	}
	return s.TLS.check()
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: want host:port", address)
	}
	if host == "" {
		return fmt.Errorf("address %q has no host", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: the port is not a number from 1 to 65535", address)
	}
	return nil
}

// secrets are the texts that must not be shown.
func (s Server) secrets() []string {
	var secrets []string
	for _, secret := range []string{s.Password, s.SentinelPassword} {
		if secret != "" {
			secrets = append(secrets, secret)
		}
	}
	return secrets
}
