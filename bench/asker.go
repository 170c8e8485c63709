package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// asker asks over one connection of its own, with little effort: on two cores what asks takes from what answers.
type asker struct {
	conn net.Conn
	in   *bufio.Reader
	host string
	out  []byte
}

func newAsker(ctx context.Context, base string) (*asker, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	return &asker{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), host: u.Host}, nil
}

func (a *asker) close() { _ = a.conn.Close() }

// expect asks for a path and makes sure that the body of the answer has a text.
func (a *asker) expect(path string, want []byte) error {
	if err := a.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	a.out = append(append(append(a.out[:0], "GET "...), path...), " HTTP/1.1\r\nHost: "...)
	a.out = append(append(a.out, a.host...), "\r\n\r\n"...)
	if _, err := a.conn.Write(a.out); err != nil {
		return err
	}
	resp, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(body, want) {
		return fmt.Errorf("%s answers %d %.300s, want %s", path, resp.StatusCode, body, want)
	}
	return nil
}
