cwlVersion: v1.2
class: CommandLineTool
label: Separate the cells of an image
baseCommand: python3
inputs:
  script:
    type: File
    default: {class: File, location: segment.py}
    inputBinding: {position: 1}
  image:
    type: File
    inputBinding: {position: 2}
  smallest:
    type: int
    doc: the area of the smallest cell, in pixels
    inputBinding: {position: 3}
outputs:
  cells:
    type: File
    outputBinding: {glob: $(inputs.image.nameroot)_cells.png}
