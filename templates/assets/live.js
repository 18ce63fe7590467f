// Live parts: the stream sends a part of the page again when it has changed.
// The part is morphed: elements that remain keep their identity, and with it
// their focus, scroll position, open state and typed text. Changes wait while
// the reader presses, selects or chooses.
(function () {
  'use strict'

  // pending holds the newest content of each part that waits.
  var pending = new Map()
  document.body.addEventListener('htmx:sseBeforeMessage', function (e) {
    e.preventDefault() // htmx would replace all elements of the part
    pending.set(e.target, e.detail.data)
    update()
  })

  // update applies all pending changes that nothing holds back.
  function update () {
    if (!pressed) {
      pending.forEach(function (html, part) {
        if (selectedIn(part) || choosingIn(part)) return
        pending.delete(part)
        morph(part, html)
      })
    }
    document.body.toggleAttribute('data-held', Array.from(pending.keys()).some(selectedIn))
  }

  function selectedIn (part) {
    var selection = document.getSelection()
    return !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(part)
  }

  // choosingIn reports whether the list of a select may be open.
  function choosingIn (part) {
    var at = document.activeElement
    return at.localName === 'select' && part.contains(at)
  }

  // A press lasts from pointerdown to the click. It holds back all parts: one
  // that grows would move the target of the press. A press that ends without a
  // click, such as a drag, ends shortly after pointerup.
  var pressed = false
  var ending = 0
  function release () {
    clearTimeout(ending)
    pressed = false
    update()
  }
  function releaseIn (milliseconds) {
    clearTimeout(ending)
    ending = setTimeout(release, milliseconds)
  }
  addEventListener('pointerdown', function (e) {
    if (e.button !== 0) return // no click follows
    clearTimeout(ending)
    pressed = true
  }, true)
  addEventListener('pointermove', function (e) {
    if (pressed && e.pointerType === 'mouse' && e.buttons === 0) releaseIn(0) // released outside of the window
  }, { capture: true, passive: true })
  addEventListener('pointerup', function () { if (pressed) releaseIn(300) }, true)
  addEventListener('click', function () { if (pressed) releaseIn(0) }, true)
  addEventListener('pointercancel', function () { if (pressed) release() }, true)
  addEventListener('blur', function () { if (pressed) release() })
  document.addEventListener('selectionchange', function () { if (pending.size) update() })
  document.addEventListener('focusout', function () { if (pending.size) setTimeout(update) })

  var controls = 'a[href], button, input, select, summary, [tabindex]'
  function morph (part, html) {
    var content = document.createElement('template')
    content.innerHTML = html
    var focused = part.contains(document.activeElement) ? document.activeElement : null
    var owner = focused && focused.closest('[id]')
    var id = owner && owner.id
    var nth = owner ? Array.from(owner.querySelectorAll(controls)).indexOf(focused) : -1
    Idiomorph.morph(part, Array.from(content.content.childNodes), {
      morphStyle: 'innerHTML',
      callbacks: { beforeAttributeUpdated: function (name, element) { return !readerSet(name, element) } }
    })
    if (focused && document.activeElement === document.body) {
      // The focused element was removed. The next key starts from its successor
      // or from the content, not from the top of the page.
      owner = id && document.getElementById(id)
      var next = owner && (nth < 0 ? owner : owner.querySelectorAll(controls)[nth])
      ;(next || document.getElementById('main')).focus({ preventScroll: true })
    }
    htmx.trigger(part, 'htmx:sseMessage')
  }

  // readerSet reports whether the reader has set what an attribute stands for.
  function readerSet (name, element) {
    switch (name) {
      case 'open': return element.localName === 'details'
      case 'value': return 'defaultValue' in element && element.value !== element.defaultValue
      case 'checked': return element.checked !== element.defaultChecked
      case 'selected': return element.selected !== element.defaultSelected
    }
    return false
  }
})()
