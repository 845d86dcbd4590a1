cwlVersion: v1.2
class: Workflow
label: Measure the cells of many images
doc: |-
  Each image is denoised, its cells are told apart, and each cell is measured. Three steps are
  scattered over the images, one after the other; the last one makes a table of all cells.
requirements:
  ScatterFeatureRequirement: {}
inputs:
  images: File[]
  width:
    type: int
    default: 5
    doc: of the median filter, in pixels
  smallest:
    type: int
    default: 40
    doc: the area of the smallest cell, in pixels
steps:
  denoise:
    run: denoise.cwl
    scatter: image
    in: {image: images, width: width}
    out: [denoised]
  segment:
    run: segment.cwl
    scatter: image
    in: {image: denoise/denoised, smallest: smallest}
    out: [cells]
  measure:
    run: measure.cwl
    scatter: [image, cells, original]
    scatterMethod: dotproduct
    in: {image: denoise/denoised, cells: segment/cells, original: images}
    out: [measures]
  join:
    run: join.cwl
    in: {tables: measure/measures}
    out: [table]
outputs:
  segmented:
    type: File[]
    outputSource: segment/cells
  cells:
    type: File
    outputSource: join/table
