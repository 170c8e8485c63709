package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// screen is where a run of quipu up reports: each line with the seconds since it began, or, once it is up, with the time of day.
type screen struct {
	begun time.Time

	mu sync.Mutex
	w  io.Writer
	up bool
}

func newScreen(w io.Writer) *screen { return &screen{begun: time.Now(), w: w} }

// progress tells one step.
func (s *screen) progress(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up {
		fmt.Fprintf(s.w, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
		return
	}
	fmt.Fprintf(s.w, "%6.1f s  %s\n", time.Since(s.begun).Seconds(), line)
}

// show prints a text as it is. From then on lines carry the time of day.
func (s *screen) show(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = true
	fmt.Fprint(s.w, text)
}
