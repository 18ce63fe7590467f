package redistest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// doLimit limits the duration of a command.
const doLimit = 10 * time.Second

// Do sends a command on a new connection. The result is a string, an int64, nil or an []any
// of these; a refused command returns an error.
func (s *Server) Do(args ...string) (any, error) {
	conn, err := net.DialTimeout("tcp", s.Addr, doLimit)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.program, err)
	}
	defer func() { _ = conn.Close() }() // all that counts was read
	if err := conn.SetDeadline(time.Now().Add(doLimit)); err != nil {
		return nil, err
	}
	if t := s.options.TLS; t != nil {
		authority, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: loopback, RootCAs: x509.NewCertPool()}
		cfg.RootCAs.AppendCertsFromPEM(authority)
		conn = tls.Client(conn, cfg)
	}
	answers := bufio.NewReader(conn)
	if s.options.Password != "" {
		if _, err := command(conn, answers, "AUTH", s.options.Password); err != nil {
			return nil, err
		}
	}
	return command(conn, answers, args...)
}

func command(w io.Writer, r *bufio.Reader, args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return nil, fmt.Errorf("sending %s: %w", args[0], err)
	}
	answer, err := read(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	return answer, nil
}

// read reads an answer in the second version of the protocol:
// https://redis.io/docs/latest/develop/reference/protocol-spec/
func read(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty answer")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$', '*':
	default:
		return nil, fmt.Errorf("unknown answer %q", line)
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return nil, err
	}
	if kind == '$' {
		text := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, err
		}
		return string(text[:n]), nil
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = read(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}
