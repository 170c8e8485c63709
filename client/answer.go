package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is the body of a 202.
type answer struct {
	Accepted int         `json:"accepted"`
	Rejected []rejection `json:"rejected"`
}

type rejection struct {
	Index     int    `json:"index"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

var errAnswer = errors.New("invalid answer")

// parseAnswer reads the answer to a request of so many events and checks that it accounts for each of them once.
func parseAnswer(body []byte, events int) (answer, error) {
	if acceptedAll(body, events) {
		return answer{Accepted: events}, nil
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if a.Accepted < 0 || a.Accepted+len(a.Rejected) != events {
		return a, fmt.Errorf("%w: %d accepted and %d rejected of %d events", errAnswer, a.Accepted, len(a.Rejected), events)
	}
	seen := make(map[int]bool, len(a.Rejected))
	for _, r := range a.Rejected {
		if r.Index < 0 || r.Index >= events || seen[r.Index] {
			return a, fmt.Errorf("%w: index %d is beyond the %d events or told twice", errAnswer, r.Index, events)
		}
		seen[r.Index] = true
	}
	return a, nil
}

// acceptedAll recognises the usual answer without decoding it.
func acceptedAll(body []byte, events int) bool {
	body = bytes.TrimSpace(body)
	rest, ok := bytes.CutPrefix(body, []byte(`{"accepted":`))
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if n, err := strconv.Atoi(string(rest[:digits])); err != nil || n != events {
		return false
	}
	rest = rest[digits:]
	return string(rest) == `}` || string(rest) == `,"rejected":[]}`
}

// problem is what this package reads of an RFC 9457 problem document.
type problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// problemOf returns code and message of an answer outside of 200–299.
func problemOf(r Response) (code, message string) {
	var p problem
	if json.Unmarshal(r.Body, &p) == nil && p.Code != "" {
		return p.Code, p.Detail
	}
	text := strings.ToValidUTF8(strings.TrimSpace(string(r.Body[:min(len(r.Body), maxLossMessage)])), "?")
	return CodeStatus + strconv.Itoa(r.Status), text
}

// ParseRetryAfter reads the Retry-After header in either of its forms, seconds or a date. What can't be read, or lies in the past, is 0.
func ParseRetryAfter(header string, now func() time.Time) time.Duration {
	if header == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now()))
}
