package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/chromedp/chromedp"
)

// shot URL OUT WIDTH THEME
func main() {
	w, _ := strconv.ParseInt(os.Args[3], 10, 64)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("blink-settings", map[string]string{"dark": "preferredColorScheme=0", "light": "preferredColorScheme=1"}[os.Args[4]]))
	a, c := chromedp.NewExecAllocator(context.Background(), opts...)
	defer c()
	ctx, c2 := chromedp.NewContext(a)
	defer c2()
	ctx, c3 := context.WithTimeout(ctx, 40*time.Second)
	defer c3()
	var b []byte
	err := chromedp.Run(ctx, chromedp.EmulateViewport(w, 900), chromedp.Navigate(os.Args[1]), chromedp.Sleep(3*time.Second), chromedp.FullScreenshot(&b, 90))
	fmt.Println(err, os.WriteFile(os.Args[2], b, 0o644))
}
