package diskcache

import "context"

// flight is a block that is being fetched.
type flight struct {
	done chan struct{} // closed when data or err is set
	data []byte
	err  error
	gone bool // the error is the end of the fetcher's own context: others may try
}

// read hands over blocks first to last in order.
func (c *Cache) read(ctx context.Context, name string, size, first, last int64, take func(int64, []byte)) error {
	for number := first; number <= last; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if data := c.load(name, number, c.length(size, number)); data != nil {
			c.metrics.hits.Inc()
			take(number, data)
			number++
			continue
		}
		mine, other := c.claim(name, number, last)
		if other != nil {
			data, err := other.wait(ctx)
			if err != nil {
				return err
			}
			if data != nil {
				c.metrics.shared.Inc()
				take(number, data)
				number++
			}
			continue
		}
		if len(mine) == 0 {
			continue
		}
		if err := c.fetch(ctx, name, size, number, mine); err != nil {
			return err
		}
		for _, f := range mine {
			take(number, f.data)
			number++
		}
	}
	return nil
}

// length is how long a block is: the last one of an object may be shorter.
func (c *Cache) length(size, number int64) int { return int(min(c.block, size-number*c.block)) }

// claim makes the caller the one who fetches a block and those missing right behind it, up to last; or returns the flight of who
// fetches it already; or neither, if the block came meanwhile.
func (c *Cache) claim(name string, number, last int64) (mine []*flight, other *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; number <= last && len(mine) < maxRun; number++ {
		block := idOf(name, number)
		f, flying := c.flights[block]
		_, there := c.entries[block]
		switch {
		case len(mine) > 0 && (flying || there):
			return mine, nil
		case flying:
			return nil, f
		case there:
			return nil, nil
		}
		f = &flight{done: make(chan struct{})}
		c.flights[block] = f
		mine = append(mine, f)
	}
	return mine, nil
}

// fetch gets claimed blocks with one request and writes them to the folder.
func (c *Cache) fetch(ctx context.Context, name string, size, first int64, mine []*flight) error {
	from := first * c.block
	to := min(from+int64(len(mine))*c.block, size)
	data := make([]byte, to-from)
	err := c.source.ReadRange(ctx, name, data, from)
	c.metrics.misses.Add(float64(len(mine)))
	for i, f := range mine {
		number := first + int64(i)
		if f.err = err; err == nil {
			low := int64(i) * c.block
			f.data = data[low : low+int64(c.length(size, number)) : low+int64(c.length(size, number))]
			c.store(name, number, f.data)
		}
		f.gone = err != nil && ctx.Err() != nil
		c.mu.Lock()
		delete(c.flights, idOf(name, number))
		c.mu.Unlock()
		close(f.done)
	}
	return err
}

// wait returns what another goroutine fetched; nothing, without an error, if that one gave up for reasons of its own.
func (f *flight) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-f.done:
	}
	if f.gone {
		return nil, nil
	}
	return f.data, f.err
}
